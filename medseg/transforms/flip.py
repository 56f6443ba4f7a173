"""Mirror images, with left and right structures renamed when left and right change places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from medseg.config import Config
from medseg.errors import LabelError, UsageError
from medseg.shapes import FloatArray, IntTriple, Triple
from medseg.transforms.ranges import Axis, Probability, Rng, fires
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform

Pairs = Sequence[tuple[int, int]]


class FlipConfig(Config):
    """Flips along voxel axes.

    Args:
        probability: of flipping along each of the axes, tossed for every axis anew.
        axes: 0, 1, 2 for X (left/right), Y (back/front), Z (down/up).
    """

    name: Literal["flip"] = "flip"
    probability: Probability = 0.5
    axes: tuple[Axis, ...] = (0,)

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Flip:
        """The transform; `options` as in `Flip`."""
        return Flip(keys, self, **options)


@dataclass(frozen=True)
class FlipParams:
    """The axes that are flipped, in rising order."""

    axes: tuple[int, ...]


class Flip(RandomTransform[FlipParams]):
    """Flips image and labels; a flip along `left_right_axis` also swaps the classes of each mirror pair.

    Which classes are a left/right pair can only be known from `mirror_pairs`: undeclared, a left kidney that is
    flipped stays a "left kidney" on the right side, and the model learns not to tell them apart.

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
        paired = [index for pair in mirror_pairs for index in pair]
        if len(set(paired)) < len(paired) or min(paired, default=0) < 0:
            raise LabelError("mirror_pairs does not pair classes one to one", got=str([*mirror_pairs]))
        if left_right_axis not in (0, 1, 2):
            raise UsageError("no such axis", where="left_right_axis", expected="0, 1 or 2", got=str(left_right_axis))
        self.config, self.mirror_pairs, self.left_right_axis = config, tuple(mirror_pairs), left_right_axis

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> FlipParams | None:
        axes = tuple(axis for axis in sorted(set(self.config.axes)) if fires(rng, self.config.probability))
        return FlipParams(axes) if axes else None

    def apply_image(self, image: Tensor, params: FlipParams) -> Tensor:
        return torch.flip(image, [axis + 1 for axis in params.axes])

    def apply_labels(self, labels: Tensor, params: FlipParams) -> Tensor:
        flipped = self.apply_image(labels, params)
        return swap_classes(flipped, self.mirror_pairs) if self.left_right_axis in params.axes else flipped

    def voxel_map(self, params: FlipParams, shape: IntTriple) -> FloatArray:
        matrix = np.eye(4)
        for axis in params.axes:
            matrix[axis, axis], matrix[axis, 3] = -1, shape[axis] - 1
        return matrix


def swap_classes(labels: Tensor, pairs: Pairs) -> Tensor:
    """Labels with the two classes of every pair exchanged: values of integers, channels of soft targets.

    Raises:
        LabelError: a pair names a channel that the soft targets do not have.
    """
    if not pairs:
        return labels
    if not labels.is_floating_point():
        swapped = labels.clone()
        for a, b in pairs:
            swapped[labels == a], swapped[labels == b] = b, a
        return swapped
    order = list(range(len(labels)))
    for a, b in pairs:
        if max(a, b) >= len(labels):
            raise LabelError("mirror_pairs names a class that the soft targets lack",
                             expected=f"below {len(labels)}", got=f"({a}, {b})")  # fmt: skip
        order[a], order[b] = order[b], order[a]
    return labels[order]
