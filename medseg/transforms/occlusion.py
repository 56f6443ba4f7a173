"""Parts of the image made unreadable, so that context has to tell what lies there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import AfterValidator
from torch import Tensor

from medseg.errors import GeometryError, UsageError
from medseg.shapes import IntTriple, Triple
from medseg.transforms.channels import Channels, on_channels, some_channels
from medseg.transforms.entries import Entries
from medseg.transforms.noise import gaussian_noise
from medseg.transforms.projection import constant
from medseg.transforms.ranges import (
    CountRange,
    PositiveRange,
    Probability,
    Rng,
    WorksIn,
    fires,
    new_seed,
    uniform,
    whole,
)
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform, StepBase
from medseg.transforms.warp import AIR_HU

Fill = Literal["air", "mean", "noise", "metal", "tissue"]
Outline = Literal["box", "blob"]
Box = tuple[IntTriple, IntTriple]
METAL_HU = 3000.0
BUMPS = 5  # random numbers along each edge that push a blob's surface in and out
BUMP_SHARE = 0.25  # of its radius, as standard deviation


def _some(choices: tuple[str, ...]) -> tuple[str, ...]:
    if not choices:
        raise ValueError("at least one of the choices")
    return choices


def _part(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[1] > 1:
        raise ValueError("a range [low, high] of at most 1")
    return ends


class OcclusionConfig(StepBase):
    """Boxes and blobs that are filled; the labels stay, because the anatomy is still there.

    Args:
        probability: of acting.
        boxes: range of the number of boxes or blobs.
        size_mm: range of each edge of a box, or diameter of a blob, cut to half of the image.
        outlines: one is chosen each time: box, or blob, an ellipsoid with a random smooth surface.
        fills: one is chosen each time: air (-1024 HU), the image's mean, noise with the image's mean and spread,
            metal (3000 HU), or tissue of another patient (the sample's entry `donor`).
    """

    name: Literal["occlusion"] = "occlusion"
    probability: Probability = 0.1
    boxes: CountRange = (1, 3)
    size_mm: PositiveRange = (10.0, 40.0)
    outlines: Annotated[tuple[Outline, ...], AfterValidator(_some)] = ("box", "blob")
    fills: Annotated[tuple[Fill, ...], AfterValidator(_some)] = ("air", "mean", "noise", "metal")

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Occlusion:
        """The transform; `options` as in `RandomTransform`."""
        return Occlusion(keys, self, **options)


class BlankRectanglesConfig(StepBase):
    """Boxes that are filled with their own mean, as in nnU-Net's DA5; works in any unit, also after the window.

    Args:
        probability: of acting.
        channel_probability: of each channel's being changed.
        boxes: range of their number; DA5's (1, 5) leaves the upper end out.
        size: range of each edge over that of the image.
    """

    works_in: ClassVar[WorksIn] = "any"
    name: Literal["blank_rectangles"] = "blank_rectangles"
    probability: Probability = 0.4
    channel_probability: Probability = 0.5
    boxes: CountRange = (1, 4)
    size: Annotated[PositiveRange, AfterValidator(_part)] = (0.1, 1 / 3)

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> BlankRectangles:
        """The transform; `options` as in `RandomTransform`."""
        return BlankRectangles(keys, self, **options)


@dataclass(frozen=True)
class OcclusionParams:
    """Boxes as first voxel and number of voxels along X, Y, Z; outline and fill, and the seed of their randomness."""

    boxes: tuple[Box, ...]
    fill: Fill
    seed: int
    outline: Outline = "box"


@dataclass(frozen=True)
class BlankRectanglesParams:
    """Boxes as first voxel and number of voxels along X, Y, Z; None stands for every channel."""

    boxes: tuple[Box, ...]
    channels: Channels | None = None


class Occlusion(RandomTransform[OcclusionParams]):
    """Fills boxes or blobs of the image.

    Tissue of a donor that is smaller than the box is continued by reflection.

    Raises:
        UsageError: the fill is tissue and the sample has no `donor`.
        GeometryError: the donor has other channels than the image.
    """

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: OcclusionConfig = OcclusionConfig(),  # noqa: B008
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> OcclusionParams | None:
        if not fires(rng, self.config.probability):
            return None
        fill = self.config.fills[whole(rng, (0, len(self.config.fills) - 1))]
        outline = self.config.outlines[whole(rng, (0, len(self.config.outlines) - 1))]
        boxes = tuple(self._box(rng, shape, spacing_mm) for _ in range(whole(rng, self.config.boxes)))
        return OcclusionParams(boxes, fill, new_seed(rng), outline)

    def _box(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> Box:
        edges = [uniform(rng, self.config.size_mm) / spacing for spacing in spacing_mm]
        return _placed(rng, shape, [min(round(edge), n // 2) for edge, n in zip(edges, shape, strict=True)])

    def apply_image(self, image: Tensor, params: OcclusionParams) -> Tensor:
        return occluded(image, params, None)

    def apply_entries(self, entries: Entries, params: OcclusionParams) -> Entries:
        images = {key: occluded(image, params, entries.donor) for key, image in entries.images.items()}
        return replace(entries, images=images)


class BlankRectangles(RandomTransform[BlankRectanglesParams]):
    """Fills boxes of the image one after the other, each with its own mean in each channel; the labels stay.

    The boxes are the same in all channels; DA5 draws them for each channel anew, which makes no difference for CT.
    """

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: BlankRectanglesConfig = BlankRectanglesConfig(),  # noqa: B008
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> BlankRectanglesParams | None:
        if not fires(rng, self.config.probability):
            return None
        boxes = tuple(self._box(rng, shape) for _ in range(whole(rng, self.config.boxes)))
        return BlankRectanglesParams(boxes, some_channels(rng, self.config.channel_probability))

    def _box(self, rng: Rng, shape: IntTriple) -> Box:
        low, high = self.config.size
        ends = [(max(1, int(low * n)), max(1, int(high * n + 1e-9))) for n in shape]
        return _placed(rng, shape, [whole(rng, (a, max(a, b))) for a, b in ends])

    def apply_image(self, image: Tensor, params: BlankRectanglesParams) -> Tensor:
        return on_channels(image, params.channels, lambda part: _blanked(part, params.boxes))


def occluded(image: Tensor, params: OcclusionParams, donor: Tensor | None) -> Tensor:
    """The image (C, X, Y, Z) with its boxes or blobs filled; errors as in `Occlusion`."""
    filled = image.clone()
    for number, box in enumerate(params.boxes):
        part = filled[_slices(box)]
        seed = params.seed + number
        filling = _tissue(part, donor, seed) if params.fill == "tissue" else _filling(image, part, params.fill, seed)
        if params.outline == "blob":
            filling = torch.where(blob(box[1], seed, image.device), filling, part)
        part[:] = filling
    return filled


def blob(shape: IntTriple, seed: int, device: torch.device) -> Tensor:
    """Mask (X, Y, Z) of an ellipsoid that a smooth random surface pushes in and out, inside its box.

    Even the smallest one holds a voxel: that in its middle.
    """
    axes = [constant((np.arange(n) - (n - 1) / 2) * (2 / n), device) for n in shape]
    x, y, z = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None]
    bumps = gaussian_noise((1, 1, BUMPS, BUMPS, BUMPS), seed, device) * BUMP_SHARE
    surface = F.interpolate(bumps, size=shape, mode="trilinear", align_corners=True)[0, 0] + 1
    surface = surface.clamp(0.5, 1.5) * (1 - BUMP_SHARE)
    mask = (x * x + y * y + z * z).sqrt() <= surface
    mask[shape[0] // 2, shape[1] // 2, shape[2] // 2] = True
    return mask


def mean_of(image: Tensor) -> Tensor:
    """Mean of each channel (C, 1, 1, 1), the same for any number of threads, without waiting for the device."""
    if image.device.type != "cpu":
        return image.mean(dim=(1, 2, 3), keepdim=True)
    return torch.from_numpy(image.numpy().mean(axis=(1, 2, 3), keepdims=True, dtype=np.float64)).float()


def _blanked(image: Tensor, boxes: Sequence[Box]) -> Tensor:
    filled = image.clone()
    for box in boxes:
        part = filled[_slices(box)]
        part[:] = mean_of(part)
    return filled


def _filling(image: Tensor, part: Tensor, fill: Fill, seed: int) -> Tensor:
    if fill == "air":
        return image.new_full((), AIR_HU)
    if fill == "metal":
        return image.new_full((), METAL_HU)
    mean = mean_of(image)
    if fill == "mean":
        return mean.expand(part.shape)
    spread = mean_of((image - mean) ** 2).sqrt()
    return gaussian_noise(part.shape, seed, image.device) * spread + mean


def _tissue(part: Tensor, donor: Tensor | None, seed: int) -> Tensor:
    """A box of the donor's as large as `part`, from a place that the seed decides."""
    if donor is None:
        raise UsageError("another patient's tissue is asked for, and the sample has none",
                         expected="an image under the key 'donor'",
                         do="Add one to each sample, or leave tissue out of fills.")  # fmt: skip
    if len(donor) not in (1, len(part)):
        raise GeometryError("the donor has other channels than the image", expected=str(len(part)), got=str(len(donor)))
    rng = np.random.default_rng(seed)
    for axis, length in enumerate(part.shape[1:], start=1):
        there = donor.shape[axis]
        places = rng.integers(0, max(there - length, 0) + 1) + np.arange(length)
        period = max(2 * there - 2, 1)
        reflected = np.minimum(places % period, -places % period)
        donor = donor.index_select(axis, torch.from_numpy(reflected).to(donor.device, non_blocking=True))
    return donor.to(part.device, non_blocking=True).expand(part.shape)


def _placed(rng: Rng, shape: IntTriple, edges: Sequence[int]) -> Box:
    """A box of these edges, of at least one voxel, anywhere inside the image."""
    x, y, z = (max(1, edge) for edge in edges)
    i, j, k = (whole(rng, (0, n - edge)) for n, edge in zip(shape, (x, y, z), strict=True))
    return (i, j, k), (x, y, z)


def _slices(box: Box) -> tuple[slice, ...]:
    return (slice(None), *(slice(first, first + edge) for first, edge in zip(*box, strict=True)))
