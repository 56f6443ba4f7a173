"""Mirror images, with left and right structures renamed when left and right change places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from medseg.shapes import FloatArray, IntTriple, Triple
from medseg.transforms.entries import Entries
from medseg.transforms.ranges import Axis, Probability, Rng, fires
from medseg.transforms.sides import Pairs, SwapRule, checked_pairs, swap_classes
from medseg.transforms.transform import DEFAULT_KEYS, GeometricTransform, Keys, StepBase

__all__ = ["Flip", "FlipConfig", "FlipParams", "swap_classes"]


class FlipConfig(StepBase):
    """Flips along voxel axes.

    Args:
        probability: of flipping along each of the axes, tossed for every axis anew.
        axes: 0, 1, 2 for X (left/right), Y (back/front), Z (down/up).
        swap: when left and right classes change names (`sides`): `side`, when the left/right axis is flipped;
            `chirality`, when an odd number of axes is, which is what goes with turns of 90 degrees and more.
    """

    works_in: ClassVar[Literal["hu", "any"]] = "any"
    name: Literal["flip"] = "flip"
    probability: Probability = 0.5
    axes: tuple[Axis, ...] = (0,)
    swap: SwapRule = "side"

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Flip:
        """The transform; `options` as in `Flip`."""
        return Flip(keys, self, **options)


@dataclass(frozen=True)
class FlipParams:
    """The axes that are flipped, in rising order."""

    axes: tuple[int, ...]


class Flip(GeometricTransform[FlipParams]):
    """Flips image and labels, and swaps the classes of each mirror pair when left becomes right.

    Which classes are a left/right pair can only be known from `mirror_pairs`: undeclared, a left kidney that is
    flipped stays a "left kidney" on the right side, and the model learns not to tell them apart (`mirror_advice` finds
    names that look so).

    Args:
        mirror_pairs: class indices (a, b) that are each other's mirror image.
        left_right_axis: the voxel axis that runs from left to right.

    Raises:
        LabelError: a class is in two pairs, is paired with itself, or is negative.

    Example:
        >>> flip = FlipConfig().build(mirror_pairs=[(1, 2)])
        >>> flip.apply_labels(torch.tensor([0, 1, 2, 2]).reshape(1, 4, 1, 1), FlipParams((0,))).flatten().tolist()
        [1, 1, 2, 0]
    """

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: FlipConfig = FlipConfig(),  # noqa: B008  # frozen
        *,
        mirror_pairs: Pairs = (),
        left_right_axis: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config, self.left_right_axis = config, left_right_axis
        self.mirror_pairs = checked_pairs(mirror_pairs, left_right_axis)

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> FlipParams | None:
        axes = tuple(axis for axis in sorted(set(self.config.axes)) if fires(rng, self.config.probability))
        return FlipParams(axes) if axes else None

    def apply_image(self, image: Tensor, params: FlipParams) -> Tensor:
        return torch.flip(image, [axis + 1 for axis in params.axes])

    def apply_labels(self, labels: Tensor, params: FlipParams) -> Tensor:
        flipped = self.apply_image(labels, params)
        side, chirality = self.left_right_axis in params.axes, len(params.axes) % 2 == 1
        swaps = chirality if self.config.swap == "chirality" else side
        return swap_classes(flipped, self.mirror_pairs) if swaps else flipped

    def invert_entries(self, entries: Entries, params: FlipParams | None, shape: IntTriple) -> Entries:
        """Flipped back, which is the same flip, names included."""
        return entries if params is None else self.apply_entries(entries, params)

    def voxel_map(self, params: FlipParams, shape: IntTriple) -> FloatArray:
        matrix = np.eye(4)
        for axis in params.axes:
            matrix[axis, axis], matrix[axis, 3] = -1, shape[axis] - 1
        return matrix
