"""Turns by 90 degrees and exchanged axes: no voxel is interpolated, and none changes its size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import AfterValidator
from torch import Tensor

from medseg.errors import UsageError
from medseg.shapes import FloatArray, IntTriple, Triple
from medseg.transforms.entries import Entries
from medseg.transforms.ranges import Axis, Probability, Rng, fires, whole
from medseg.transforms.sides import Pairs, SwapRule, checked_pairs, swap_classes
from medseg.transforms.transform import DEFAULT_KEYS, GeometricTransform, Keys, StepBase


def _distinct(least: int) -> AfterValidator:
    def check(axes: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(axes)) < max(len(axes), least):
            raise ValueError(f"at least {least} of the axes 0, 1, 2, each once")
        return axes

    return AfterValidator(check)


class Rot90Config(StepBase):
    """Turns by 90, 180 or 270 degrees about one axis.

    Args:
        probability: of acting.
        axes: about which may be turned, 0, 1, 2 for X, Y, Z; one is chosen each time. Where the other two axes differ
            in number or size of voxels, only half turns are drawn, which keep shape and spacing.
    """

    works_in: ClassVar[Literal["hu", "any"]] = "any"
    name: Literal["rot90"] = "rot90"
    probability: Probability = 0.5
    axes: Annotated[tuple[Axis, ...], _distinct(1)] = (2,)

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Rot90:
        """The transform; `options` as in `RandomTransform`."""
        return Rot90(keys, self, **options)


class TransposeConfig(StepBase):
    """Exchanges axes, all orders equally likely.

    Args:
        probability: of acting.
        axes: that may change places with each other; those that differ in number or size of voxels stay.
        swap: when left and right classes change names (`sides`): `chirality`, when two axes changed places, which makes
            a mirror image, and not when all three moved on by one, which is a turn; `side`, never, for which the
            left/right axis must stay.
    """

    works_in: ClassVar[Literal["hu", "any"]] = "any"
    name: Literal["transpose"] = "transpose"
    probability: Probability = 0.5
    axes: Annotated[tuple[Axis, ...], _distinct(2)] = (0, 1, 2)
    swap: SwapRule = "chirality"

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Transpose:
        """The transform; `options` as in `Transpose`."""
        return Transpose(keys, self, **options)


@dataclass(frozen=True)
class Rot90Params:
    """About X, Y or Z, and by how many times 90 degrees; +90 about Z turns X towards Y."""

    axis: int
    turns: int


@dataclass(frozen=True)
class TransposeParams:
    """For each axis of the result the axis of the source that it was."""

    order: IntTriple


class Rot90(GeometricTransform[Rot90Params]):
    """Turns image and labels; a turned body is no mirror image, so left and right keep their names."""

    def __init__(self, keys: Keys = DEFAULT_KEYS, config: Rot90Config = Rot90Config(), **options: Any) -> None:  # noqa: B008
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> Rot90Params | None:
        if not fires(rng, self.config.probability):
            return None
        axis = self.config.axes[whole(rng, (0, len(self.config.axes) - 1))]
        turns = whole(rng, (1, 3))
        return Rot90Params(axis, turns if _alike(*_plane(axis), shape, spacing_mm) else 2)

    def apply_image(self, image: Tensor, params: Rot90Params) -> Tensor:
        return torch.rot90(image, params.turns, [axis + 1 for axis in _plane(params.axis)]).contiguous()

    def apply_labels(self, labels: Tensor, params: Rot90Params) -> Tensor:
        return self.apply_image(labels, params)

    def invert_entries(self, entries: Entries, params: Rot90Params | None, shape: IntTriple) -> Entries:
        """Turned back."""
        return entries if params is None else self.apply_entries(entries, Rot90Params(params.axis, -params.turns % 4))

    def voxel_map(self, params: Rot90Params, shape: IntTriple) -> FloatArray:
        a, b = _plane(params.axis)
        matrix, sizes = np.eye(4), list(shape)
        for _ in range(params.turns % 4):
            turn = np.eye(4)
            turn[a, a] = turn[b, b] = 0
            turn[a, b], turn[b, a], turn[b, 3] = 1, -1, sizes[b] - 1
            matrix = matrix @ turn
            sizes[a], sizes[b] = sizes[b], sizes[a]
        return matrix


class Transpose(GeometricTransform[TransposeParams]):
    """Exchanges axes of image and labels, and swaps the classes of each mirror pair when a mirror image arises.

    Args:
        mirror_pairs, left_right_axis: as in `Flip`.

    Raises:
        LabelError: a class is in two pairs, is paired with itself, or is negative.
        UsageError: `swap: side` and the left/right axis may move, so that sides lose their axis.
    """

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: TransposeConfig = TransposeConfig(),  # noqa: B008  # frozen
        *,
        mirror_pairs: Pairs = (),
        left_right_axis: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config, self.mirror_pairs = config, checked_pairs(mirror_pairs, left_right_axis)
        if config.swap == "side" and left_right_axis in config.axes:
            raise UsageError("names cannot follow the side of a left/right axis that moves", where="transpose",
                             expected=f"axes without {left_right_axis}, or swap: chirality",
                             got=str(config.axes))  # fmt: skip

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> TransposeParams | None:
        if not fires(rng, self.config.probability):
            return None
        orders = [(x, y, z) for x, y, z in permutations(range(3)) if self._allowed((x, y, z), shape, spacing_mm)]
        return TransposeParams(orders[whole(rng, (0, len(orders) - 1))]) if orders else None

    def _allowed(self, order: IntTriple, shape: IntTriple, spacing_mm: Triple) -> bool:
        moved = [(axis, source) for axis, source in enumerate(order) if axis != source]
        return bool(moved) and all(
            axis in self.config.axes and _alike(axis, source, shape, spacing_mm) for axis, source in moved
        )

    def apply_image(self, image: Tensor, params: TransposeParams) -> Tensor:
        return image.permute(0, *(axis + 1 for axis in params.order)).contiguous()

    def apply_labels(self, labels: Tensor, params: TransposeParams) -> Tensor:
        moved = self.apply_image(labels, params)
        mirrored = np.linalg.det(np.eye(3)[list(params.order)]) < 0
        return swap_classes(moved, self.mirror_pairs) if mirrored and self.config.swap == "chirality" else moved

    def invert_entries(self, entries: Entries, params: TransposeParams | None, shape: IntTriple) -> Entries:
        """Axes back in their order, names included."""
        if params is None:
            return entries
        x, y, z = (params.order.index(axis) for axis in range(3))
        return self.apply_entries(entries, TransposeParams((x, y, z)))

    def voxel_map(self, params: TransposeParams, shape: IntTriple) -> FloatArray:
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for axis, source in enumerate(params.order):
            matrix[source, axis] = 1
        return matrix


def _plane(axis: int) -> tuple[int, int]:
    return (axis + 1) % 3, (axis + 2) % 3


def _alike(a: int, b: int, shape: IntTriple, spacing_mm: Triple) -> bool:
    return shape[a] == shape[b] and math.isclose(spacing_mm[a], spacing_mm[b], rel_tol=1e-3)
