"""Another phase of the contrast agent: each organ brighter or darker as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medseg.errors import UsageError
from medseg.shapes import IntTriple, Triple
from medseg.transforms.entries import Entries
from medseg.transforms.filters import blurred
from medseg.transforms.projection import constant
from medseg.transforms.ranges import Bound, Probability, Range, Rng, fires, uniform
from medseg.transforms.sides import Pairs, checked_pairs
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform, StepBase

PERFUSED_HU = (-50.0, 10.0)  # from fat, which takes up no agent, to blood and muscle, which do


class ContrastPhaseConfig(StepBase):
    """A shift in HU for each labelled class.

    Args:
        probability: of acting.
        shift_hu: range for classes that `class_shift_hu` does not name, drawn for each of them anew.
        class_shift_hu: class index to its own range; [0, 0] leaves a class alone.
        classes: how many shifts are drawn: class `classes + 1` shares that of class 1, and so on.
        edge_mm: standard deviation of the blur that hides the labels' own edges in the image.
    """

    name: Literal["contrast_phase"] = "contrast_phase"
    probability: Probability = 0.2
    shift_hu: Range = (-30.0, 50.0)
    class_shift_hu: Mapping[Annotated[int, Field(ge=1)], Range] = {}
    classes: Annotated[int, Field(ge=1)] = 24
    edge_mm: Bound = 2.0

    def model_post_init(self, context: Any) -> None:
        if max(self.class_shift_hu, default=0) > self.classes:
            raise ValueError("classes of at least the largest index in class_shift_hu")

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> ContrastPhase:
        """The transform; `options` as in `ContrastPhase`."""
        return ContrastPhase(keys, self, **options)


@dataclass(frozen=True)
class ContrastPhaseParams:
    """HU that class 1, 2, ... gains, and the blur of the edge with the voxel size."""

    shifts_hu: tuple[float, ...]
    edge_mm: float
    spacing_mm: Triple


class ContrastPhase(RandomTransform[ContrastPhaseParams]):
    """Adds each class's shift to the image where the labels say so; the labels stay.

    With several raters the shift is weighted by the share of them that marked a voxel (unknown opinions, -1, do not
    count), with soft targets by the class's probability; of several label entries the first is used. The field of
    shifts is blurred, and does not reach fat, gas and lung (below -50 HU; in full above 10 HU), so that no step in the
    image gives the label's edge away. It needs labels, so it belongs into training alone.

    Args:
        mirror_pairs: class indices (a, b) that are each other's mirror image: both kidneys take up the agent alike, so
            the second of a pair gains what the first does.

    Raises:
        UsageError: a sample without labels.
        LabelError: a class is in two pairs, is paired with itself, or is negative.
    """

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: ContrastPhaseConfig = ContrastPhaseConfig(),  # noqa: B008  # frozen
        *,
        mirror_pairs: Pairs = (),
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config, self.mirror_pairs = config, checked_pairs(mirror_pairs, left_right_axis=0)

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> ContrastPhaseParams | None:
        if not fires(rng, self.config.probability):
            return None
        own = self.config.class_shift_hu
        classes = max([self.config.classes, *(index for pair in self.mirror_pairs for index in pair)])
        shifts = [uniform(rng, own.get(index + 1, self.config.shift_hu)) for index in range(classes)]
        for first, second in self.mirror_pairs:
            if min(first, second) > 0:
                shifts[second - 1] = shifts[first - 1]
        return ContrastPhaseParams(tuple(shifts), self.config.edge_mm, spacing_mm)

    def apply_image(self, image: Tensor, params: ContrastPhaseParams) -> Tensor:
        if not any(params.shifts_hu):
            return image
        raise UsageError("contrast_phase needs the labels as well", expected="apply, apply_entries or a sample",
                         got="an image alone")  # fmt: skip

    def apply_entries(self, entries: Entries, params: ContrastPhaseParams) -> Entries:
        if not any(params.shifts_hu):
            return entries
        if not entries.labels:
            raise UsageError("contrast_phase needs labels", expected="a sample with labels", got="images alone",
                             do="Leave the step out where nothing is labelled, as at inference.")  # fmt: skip
        field = shift_field(next(iter(entries.labels.values())), params)
        return replace(entries, images={key: _shifted(image, field) for key, image in entries.images.items()})


def shift_field(labels: Tensor, params: ContrastPhaseParams) -> Tensor:
    """HU (X, Y, Z) that perfused tissue gains, from labels (R, X, Y, Z) or soft targets (C, X, Y, Z)."""
    field = _expected_shift(labels, params) if labels.is_floating_point() else _mean_shift(labels, params)
    x, y, z = (params.edge_mm / spacing for spacing in params.spacing_mm)
    return blurred(field[None], (x, y, z))[0]


def _expected_shift(soft: Tensor, params: ContrastPhaseParams) -> Tensor:
    field = torch.zeros_like(soft[0])
    for index in range(1, len(soft)):
        field += soft[index] * params.shifts_hu[(index - 1) % len(params.shifts_hu)]
    return field


def _mean_shift(labels: Tensor, params: ContrastPhaseParams) -> Tensor:
    """Mean over the raters who have an opinion; 0 where none has."""
    count = len(params.shifts_hu)
    wide = labels.dtype in (torch.int32, torch.int64)
    reach = count if wide else 2**15
    table = constant((0.0, 0.0, *np.resize(params.shifts_hu, reach)), labels.device)  # for -1, 0, 1, ...
    field, known = labels.new_zeros(labels.shape[1:], dtype=torch.float32), labels.new_zeros((), dtype=torch.int32)
    for opinion in labels:
        index = torch.where(opinion > 0, (opinion - 1) % count + 1, opinion) if wide else opinion
        place = index.to(torch.int32).clamp(min=-1) + 1
        field += table.index_select(0, place.flatten()).reshape(field.shape)
        known = known + (place > 0)
    return field if len(labels) == 1 else field / known.clamp(min=1)


def _shifted(image: Tensor, field: Tensor) -> Tensor:
    low, high = PERFUSED_HU
    return image + ((image - low) * (1 / (high - low))).clamp_(0, 1).mul_(field)
