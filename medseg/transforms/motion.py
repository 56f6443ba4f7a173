"""A patient who moves during the rotation: double contours and streaks in part of the slices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medseg.shapes import FloatArray, IntTriple, Triple
from medseg.transforms.fourier import from_spectrum, real_spectrum
from medseg.transforms.projection import constant
from medseg.transforms.ranges import PositiveRange, Probability, Rng, SizeRange, fires, uniform
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform, StepBase

SLAB = 32  # slices at a time, which keeps memory low
MARGIN = 8  # voxels repeated around the plane beyond the shift, so that its edges do not come in on the other side


class MotionConfig(StepBase):
    """A shift of the body during a half rotation.

    Args:
        probability: of acting.
        shift_mm: range of how far the body moves in the axial plane.
        slab_mm: range of the height of the slices that are hit.
        duration_share: range of the part of the half rotation that the movement takes: small is a jerk.
    """

    name: Literal["motion"] = "motion"
    probability: Probability = 0.05
    shift_mm: SizeRange = (1.0, 6.0)
    slab_mm: PositiveRange = (10.0, 80.0)
    duration_share: PositiveRange = (0.1, 0.8)

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Motion:
        """The transform; `options` as in `RandomTransform`."""
        return Motion(keys, self, **options)


@dataclass(frozen=True)
class MotionParams:
    """The shift and its direction in the plane (0 is X, 90 is Y), when it happens, and which slices it hits.

    Args:
        first_view_deg: direction of the first view.
        begins_at, lasts: in shares of the half rotation.
        slices: first, and the one after the last.
    """

    shift_mm: float
    direction_deg: float
    first_view_deg: float
    begins_at: float
    lasts: float
    slices: tuple[int, int]
    spacing_mm: Triple


class Motion(RandomTransform[MotionParams]):
    """Superposes the body's positions during the scan; the labels stay, because the mean position does.

    A view at angle t holds exactly those in-plane frequencies that point along t (Fourier slice theorem; Kak and
    Slaney 1988, chapter 3), so each direction of the spectrum is shifted to where the body was when it was measured.
    The first and the last view face each other: between them the positions differ, which makes the streaks.

    Assumed: rigid shift within the axial plane (axes 0 and 1), parallel rays over 180 degrees, the same in all slices
    that are hit. Values may go below air beside the body, as in a real scan.
    """

    def __init__(self, keys: Keys = DEFAULT_KEYS, config: MotionConfig = MotionConfig(), **options: Any) -> None:  # noqa: B008
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> MotionParams | None:
        if not fires(rng, self.config.probability):
            return None
        shift, direction, view = uniform(rng, self.config.shift_mm), uniform(rng, (0, 360)), uniform(rng, (0, 180))
        lasts = min(uniform(rng, self.config.duration_share), 1.0)
        begins = uniform(rng, (0, 1 - lasts))
        count = max(1, min(round(uniform(rng, self.config.slab_mm) / spacing_mm[2]), shape[2]))
        first = int(uniform(rng, (0, 1)) * (shape[2] - count + 1))
        return MotionParams(shift, direction, view, begins, lasts, (first, first + count), spacing_mm)

    def apply_image(self, image: Tensor, params: MotionParams) -> Tensor:
        if params.shift_mm == 0:
            return image
        first, last = params.slices
        slab = image[..., first:last]
        moved = moved_planes(slab, params)
        fade = constant(_fade(image.shape[3], first, last), image.device)
        result = image.clone()
        result[..., first:last] = slab + (moved - slab) * fade
        return result


def moved_planes(planes: Tensor, params: MotionParams) -> Tensor:
    """Planes (C, X, Y, N) as reconstructed from views of a body that moved."""
    pads = [math.ceil(params.shift_mm / edge) + MARGIN if n > 1 else 0
            for n, edge in zip(planes.shape[1:3], params.spacing_mm[:2], strict=True)]  # fmt: skip
    x, y = (n + 2 * pad for n, pad in zip(planes.shape[1:3], pads, strict=True))
    phase = torch.from_numpy(_phase((x, y), params)).to(planes.device, non_blocking=True)[None, :, :, None]
    moved = torch.empty_like(planes)
    for first in range(0, planes.shape[3], SLAB):
        padded = F.pad(planes[..., first : first + SLAB], (0, 0, pads[1], pads[1], pads[0], pads[0]), mode="replicate")
        whole = from_spectrum(real_spectrum(padded, (1, 2)) * phase, (x, y), (1, 2))
        moved[..., first : first + SLAB] = whole[:, pads[0] : x - pads[0], pads[1] : y - pads[1]]
    return moved


def shifted_share(view: FloatArray, params: MotionParams) -> FloatArray:
    """Which part of the shift is done at each view angle in degrees, less its mean over the scan: -1 to 1."""
    when = ((view - params.first_view_deg) % 180) / 180
    done = np.clip((when - params.begins_at) / params.lasts, 0, 1)
    return done - (1 - params.begins_at - params.lasts / 2)


def _phase(size: tuple[int, int], params: MotionParams) -> FloatArray:
    """Factor (X, Y // 2 + 1) by which each in-plane frequency is shifted to its own place."""
    along_x = np.fft.fftfreq(size[0], params.spacing_mm[0])[:, None]
    along_y = np.fft.rfftfreq(size[1], params.spacing_mm[1])[None]
    share = shifted_share(np.rad2deg(np.arctan2(along_y, along_x)), params)
    direction = np.deg2rad(params.direction_deg)
    travelled = params.shift_mm * share * (along_x * np.cos(direction) + along_y * np.sin(direction))
    return np.exp(-2j * np.pi * travelled).astype(np.complex64)


def _fade(length: int, first: int, last: int) -> FloatArray:
    """Half at the outer slices of the slab where it ends inside the image, else 1."""
    fade = np.ones(last - first, dtype=np.float32)
    if last - first > 2:
        fade[0] = 0.5 if first > 0 else 1
        fade[-1] = 0.5 if last < length else 1
    return fade
