"""A case's probabilities and samples held against the readers; one label is held at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medseg.evaluation.sample_scores import score_samples
from medseg.evaluation.soft_scores import score_probability
from medseg.imaging.labels import Box
from medseg.imaging.regions import Reading
from medseg.shapes import BoolArray
from medseg.workflows.readings import ReadCase

ByModel = dict[str, dict[str, Any]]


def probability_scores(case: ReadCase, raters: Sequence[str], labels: Sequence[str]) -> ByModel:
    """By label and model what its probabilities are worth, where it left any."""
    found: ByModel = {}
    for model in case.soft:
        for label in labels:
            readers = _readers(case, raters, label)
            probability = case.probabilities(label, model) if readers else None
            if probability is None:
                continue
            box = _whole(case)
            masks = [reading.mask_in(label, box) for reading in readers]
            if any(mask.any() for mask in masks) or (probability > 0.5).any():  # else nobody marked it: left out
                read = [reading.known_in(box) for reading in readers]
                scored = score_probability(probability, masks, read, case.geometry.spacing_mm)
                found.setdefault(label, {})[model] = scored
    return found


def sample_scores(case: ReadCase, raters: Sequence[str], labels: Sequence[str]) -> ByModel:
    """By label and model how its samples vary beside the readers, where it left any."""
    found: ByModel = {}
    for model in case.soft:
        if not case.sample_count(model):
            continue
        drawn = [_cropped(sample, labels) for sample in case.samples(model)]  # every file is read once
        for label in labels:
            readers = _readers(case, raters, label)
            if not readers or any(label not in sample for sample in drawn):
                continue
            boxes = [box for sample in drawn if (box := sample[label][0]) is not None]
            boxes += [box for reading in readers if (box := reading.boxes().get(label)) is not None]
            if not boxes:
                continue  # nobody marked it: left out
            box = _around(boxes)
            masks = [_pasted(*sample[label], box) for sample in drawn]
            known = [reading.known_in(box) for reading in readers]
            outlines = [reading.mask_in(label, box) for reading in readers]
            scored = score_samples(masks, outlines, known, case.geometry.spacing_mm)
            if scored is not None:
                found.setdefault(label, {})[model] = scored
    return found


def _readers(case: ReadCase, raters: Sequence[str], label: str) -> list[Reading]:
    present = [case.readings[rater] for rater in raters if rater in case.readings]
    return [reading for reading in present if reading.was_read(label)]


def _whole(case: ReadCase) -> Box:
    x, y, z = (slice(0, size) for size in case.geometry.shape)
    return x, y, z


def _cropped(sample: Reading, labels: Sequence[str]) -> dict[str, tuple[Box | None, BoolArray | None]]:
    """Each label that the sample is about, in the box around it; nothing where it is empty."""
    boxes = sample.boxes()
    return {
        label: (box, sample.mask_in(label, box)) if (box := boxes.get(label)) is not None else (None, None)
        for label in labels
        if sample.was_read(label)
    }


def _around(boxes: Sequence[Box]) -> Box:
    x, y, z = (slice(min(b[axis].start for b in boxes), max(b[axis].stop for b in boxes)) for axis in range(3))
    return x, y, z


def _pasted(own: Box | None, mask: BoolArray | None, box: Box) -> BoolArray:
    """A cropped mask in a box that holds its own."""
    canvas = np.zeros([side.stop - side.start for side in box], dtype=bool)
    if own is not None and mask is not None:
        x, y, z = (slice(o.start - b.start, o.stop - b.start) for o, b in zip(own, box, strict=True))
        canvas[x, y, z] = mask
    return canvas
