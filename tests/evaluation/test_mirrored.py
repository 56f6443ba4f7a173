"""A reading that fits another one only when an axis is turned over."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.mirrored import mirrored_axis
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet

LABELS = LabelSet({"background": 0, "tumour": 1})
GRID = Geometry((12, 10, 8), np.eye(4))


def block() -> np.ndarray:
    labels = np.zeros(GRID.shape, dtype=np.uint8)
    labels[1:5, 1:4, 1:4] = 1
    return labels


def reading(labels: np.ndarray) -> LabelMap:
    return LabelMap(labels, GRID, LABELS)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flip_is_told_with_its_axis_and_both_dice(axis: int) -> None:
    assert mirrored_axis(reading(block()), reading(np.flip(block(), axis))) == (axis, 0.0, 1.0)


def test_readings_that_fit_are_not_flipped() -> None:
    assert mirrored_axis(reading(block()), reading(np.roll(block(), 1, axis=0))) is None


def test_readings_that_fit_neither_way_are_not_flipped() -> None:
    elsewhere = np.roll(block(), (6, 5), axis=(0, 1))

    assert mirrored_axis(reading(block()), reading(elsewhere)) is None


def test_an_empty_reading_is_not_flipped() -> None:
    assert mirrored_axis(reading(block()), reading(block() * 0)) is None
