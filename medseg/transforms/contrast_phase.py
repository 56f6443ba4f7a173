"""Another phase of the contrast agent: each organ brighter or darker as a whole."""

from __future__ import annotations

import math
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
from medseg.transforms.projection import constant
from medseg.transforms.ranges import Bound, Probability, Range, Rng, fires, uniform
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
        """The transform; `options` as in `RandomTransform`."""
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

    Raises:
        UsageError: a sample without labels.
    """

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: ContrastPhaseConfig = ContrastPhaseConfig(),  # noqa: B008  # frozen
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> ContrastPhaseParams | None:
        if not fires(rng, self.config.probability):
            return None
        own = self.config.class_shift_hu
        shifts = tuple(uniform(rng, own.get(i + 1, self.config.shift_hu)) for i in range(self.config.classes))
        return ContrastPhaseParams(shifts, self.config.edge_mm, spacing_mm)

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
    shifts = constant((0.0, *params.shifts_hu), labels.device)
    if labels.is_floating_point():
        field = torch.zeros_like(labels[0])
        for index in range(1, len(labels)):
            field += labels[index] * shifts[_drawn(index, len(params.shifts_hu))]
    else:
        field, known = torch.zeros(labels.shape[1:], device=labels.device), torch.zeros((), device=labels.device)
        for opinion in labels:
            index = opinion.to(torch.int32)
            field += shifts[torch.where(index > 0, (index - 1) % len(params.shifts_hu) + 1, 0)]
            known = known + (index >= 0)
        field /= known.clamp(min=1)
    for axis, spacing in enumerate(params.spacing_mm):
        field = _blurred(field, axis, params.edge_mm / spacing)
    return field


def _drawn(index: int, count: int) -> int:
    return (index - 1) % count + 1


def _shifted(image: Tensor, field: Tensor) -> Tensor:
    low, high = PERFUSED_HU
    return image + ((image - low) / (high - low)).clamp(0, 1) * field


def _blurred(field: Tensor, axis: int, sigma: float) -> Tensor:
    """Gaussian blur along an axis, as a sum of shifted copies; the outermost values go on beyond the ends."""
    reach, length = math.ceil(2.5 * sigma), field.shape[axis]
    if sigma < 0.2 or length == 1:
        return field
    weights = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    weights /= weights[0] + 2 * weights[1:].sum()
    first, last = field.narrow(axis, 0, 1), field.narrow(axis, length - 1, 1)
    repeats = [reach if dim == axis else 1 for dim in range(field.ndim)]
    padded = torch.cat([first.repeat(repeats), field, last.repeat(repeats)], dim=axis)
    blurred = field * float(weights[0])
    for step in range(1, reach + 1):
        pair = padded.narrow(axis, reach - step, length) + padded.narrow(axis, reach + step, length)
        blurred += pair * float(weights[step])
    return blurred
