"""A field of view that is smaller than the body: beyond it the reconstruction is empty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import AfterValidator
from torch import Tensor

from medseg.errors import LabelError
from medseg.shapes import BoolArray, IntTriple, Triple
from medseg.transforms.ranges import Bound, PositiveRange, Probability, Rng, fires, uniform, whole
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform, StepBase
from medseg.transforms.warp import AIR_HU

FieldShape = Literal["circle", "side"]
Outside = Literal["background", "ignore", "keep"]


def _some(shapes: tuple[FieldShape, ...]) -> tuple[FieldShape, ...]:
    if not shapes:
        raise ValueError("at least one of circle, side")
    return shapes


def _part(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[1] > 1:
        raise ValueError("a range [low, high] of at most 1")
    return ends


class TruncationConfig(StepBase):
    """A cut field of view.

    Args:
        probability: of acting.
        shapes: one is chosen each time: a circle (the usual field of view), or a straight side, as where the lower
            edge of the picture runs through the table or the back.
        size: range of the circle's radius over the distance from the plane's middle to its corner, or of the part of
            the plane's edge that a straight side leaves; at 1 nothing is cut.
        offset_mm: how far the circle's middle may lie from that of the plane, along X and along Y.
        outside_hu: what stands beyond, the padding of the reconstruction.
        outside_labels: `background` (what an expert draws there, and what the affine step puts beyond the image),
            `ignore` (-1, unknown: the loss leaves these voxels out; not for soft targets, nor for types without a
            sign), or `keep` (the anatomy is to be found without seeing it).
    """

    name: Literal["truncation"] = "truncation"
    probability: Probability = 0.05
    shapes: Annotated[tuple[FieldShape, ...], AfterValidator(_some)] = ("circle", "side")
    size: Annotated[PositiveRange, AfterValidator(_part)] = (0.65, 0.95)
    offset_mm: Bound = 20.0
    outside_hu: float = AIR_HU
    outside_labels: Outside = "background"

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Truncation:
        """The transform; `options` as in `RandomTransform`."""
        return Truncation(keys, self, **options)


@dataclass(frozen=True)
class TruncationParams:
    """What the field of view covers.

    Args:
        reach_mm: radius of the circle, or what a straight side leaves of the edge.
        middle_mm: of the circle, from the middle of the plane along X and Y.
        side: that is cut: 0 and 1 for the low and high end of X, 2 and 3 for those of Y (2 is the back).
    """

    shape: FieldShape
    reach_mm: float
    middle_mm: tuple[float, float]
    side: int
    spacing_mm: Triple
    outside_hu: float
    outside_labels: Outside


class Truncation(RandomTransform[TruncationParams]):
    """Empties what lies beyond the field of view, in all slices alike; axes 0 and 1 are the axial plane.

    Unknown labels (-1) stay unknown.

    Raises:
        LabelError: `ignore` with labels that cannot say unknown.
    """

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: TruncationConfig = TruncationConfig(),  # noqa: B008  # frozen
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> TruncationParams | None:
        if not fires(rng, self.config.probability):
            return None
        config = self.config
        kind = config.shapes[whole(rng, (0, len(config.shapes) - 1))]
        size, side = uniform(rng, config.size), whole(rng, (0, 3))
        x, y = (uniform(rng, (-config.offset_mm, config.offset_mm)) for _ in range(2))
        edges = [n * edge for n, edge in zip(shape[:2], spacing_mm[:2], strict=True)]
        reach = size * (math.hypot(*edges) / 2 if kind == "circle" else edges[side // 2])
        return TruncationParams(kind, reach, (x, y), side, spacing_mm, config.outside_hu, config.outside_labels)

    def apply_image(self, image: Tensor, params: TruncationParams) -> Tensor:
        outside = _outside(image, params)
        return image if outside is None else image.masked_fill(outside, params.outside_hu)

    def apply_labels(self, labels: Tensor, params: TruncationParams) -> Tensor:
        outside = _outside(labels, params)
        if outside is None or params.outside_labels == "keep":
            return labels
        if params.outside_labels == "ignore":
            return _unknown(labels, outside)
        if not labels.is_floating_point():
            return torch.where(outside & (labels > 0), torch.zeros_like(labels), labels)
        background = torch.zeros_like(labels)
        background[0] = 1
        return torch.where(outside, background, labels)


def _unknown(labels: Tensor, outside: Tensor) -> Tensor:
    if labels.is_floating_point() or not labels.dtype.is_signed:
        raise LabelError("these labels cannot say that a voxel is unknown", where="truncation",
                         expected="signed integers such as int16", got=str(labels.dtype),
                         do="Choose outside_labels background or keep.")  # fmt: skip
    return labels.masked_fill(outside, -1)


def _outside(tensor: Tensor, params: TruncationParams) -> Tensor | None:
    """Mask (X, Y, 1) of what is cut off, or None if nothing is."""
    mask = beyond_field((tensor.shape[1], tensor.shape[2]), params)
    if not mask.any():
        return None
    return torch.from_numpy(np.array(mask))[..., None].to(tensor.device, non_blocking=True)


def beyond_field(shape: tuple[int, int], params: TruncationParams) -> BoolArray:
    """Mask (X, Y) of pixels whose centre lies beyond the field of view."""
    edges = [n * edge for n, edge in zip(shape, params.spacing_mm[:2], strict=True)]
    from_low = [(np.arange(n) + 0.5) * edge for n, edge in zip(shape, params.spacing_mm[:2], strict=True)]
    if params.shape == "circle":
        x, y = (place - length / 2 - middle
                for place, length, middle in zip(from_low, edges, params.middle_mm, strict=True))  # fmt: skip
        return np.hypot(x[:, None], y[None]) > params.reach_mm
    axis, high = divmod(params.side, 2)
    left = from_low[axis] if high else edges[axis] - from_low[axis]
    return np.broadcast_to(np.expand_dims(left > params.reach_mm, 1 - axis), shape)
