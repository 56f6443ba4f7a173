"""Boxes of the image made unreadable, so that context has to tell what lies there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator
from torch import Tensor

from medseg.config import Config
from medseg.shapes import IntTriple, Triple
from medseg.transforms.intensity import gaussian_noise
from medseg.transforms.ranges import PositiveRange, Probability, Rng, fires, new_seed, uniform, whole
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform
from medseg.transforms.warp import AIR_HU

Fill = Literal["air", "mean", "noise"]
Box = tuple[IntTriple, IntTriple]


def _counts(ends: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= ends[0] <= ends[1]:
        raise ValueError("a range [low, high] with 1 <= low <= high")
    return ends


def _some(fills: tuple[Fill, ...]) -> tuple[Fill, ...]:
    if not fills:
        raise ValueError("at least one of air, mean, noise")
    return fills


class OcclusionConfig(Config):
    """Boxes that are filled; the labels stay, because the anatomy is still there.

    Args:
        probability: of acting.
        boxes: range of their number.
        size_mm: range of each edge, cut to half of the image.
        fills: one is chosen each time: air (-1024 HU), the image's mean, or noise with its mean and spread.
    """

    name: Literal["occlusion"] = "occlusion"
    probability: Probability = 0.1
    boxes: Annotated[tuple[int, int], AfterValidator(_counts)] = (1, 3)
    size_mm: PositiveRange = (10.0, 40.0)
    fills: Annotated[tuple[Fill, ...], AfterValidator(_some)] = ("air", "mean", "noise")

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Occlusion:
        """The transform; `options` as in `RandomTransform`."""
        return Occlusion(keys, self, **options)


@dataclass(frozen=True)
class OcclusionParams:
    """Boxes as first voxel and number of voxels along X, Y, Z; the fill, and the seed of its noise."""

    boxes: tuple[Box, ...]
    fill: Fill
    seed: int


class Occlusion(RandomTransform[OcclusionParams]):
    """Fills boxes of the image."""

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
        boxes = tuple(self._box(rng, shape, spacing_mm) for _ in range(whole(rng, self.config.boxes)))
        return OcclusionParams(boxes, fill, new_seed(rng))

    def _box(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> Box:
        edges = [uniform(rng, self.config.size_mm) for _ in range(3)]
        x, y, z = (max(1, min(round(e / s), n // 2)) for e, s, n in zip(edges, spacing_mm, shape, strict=True))
        i, j, k = (whole(rng, (0, n - edge)) for n, edge in zip(shape, (x, y, z), strict=True))
        return (i, j, k), (x, y, z)

    def apply_image(self, image: Tensor, params: OcclusionParams) -> Tensor:
        filled = image.clone()
        for number, ((i, j, k), (x, y, z)) in enumerate(params.boxes):
            box = filled[:, i : i + x, j : j + y, k : k + z]
            box[:] = _filling(image, box, params.fill, params.seed + number)
        return filled


def _filling(image: Tensor, box: Tensor, fill: Fill, seed: int) -> Tensor | float:
    if fill == "air":
        return AIR_HU
    values = image.cpu().numpy()  # numpy's sums do not depend on the number of threads
    mean = float(values.mean(dtype=np.float64))
    if fill == "mean":
        return mean
    spread = float(values.std(dtype=np.float64))
    return gaussian_noise(box.shape, seed).to(image.device) * spread + mean
