"""One label map of several: votes of those who read, even splits, voxels that nobody read."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import LabelError, UsageError
from medseg.evaluation.majority_map import majority_map
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet

GRID = Geometry((4, 1, 2), np.eye(4))
LABELS = LabelSet({"background": 0, "liver": 5, "spleen": 9}, ignore=255)
TARGET = LabelSet({"background": 0, "liver": 1, "spleen": 2}, ignore=3)


def reading(*row: int, **facts: tuple) -> LabelMap:
    """Four voxels along X, the same in both slices."""
    labels = np.repeat(np.array(row, dtype=np.uint8)[:, None, None], 2, axis=2)
    return LabelMap(labels, GRID, LABELS, **facts)


def test_more_than_half_decide() -> None:
    maps = [reading(5, 5, 9, 0), reading(5, 9, 9, 0), reading(5, 0, 0, 0)]

    assert majority_map(maps, TARGET)[:, 0, 0].tolist() == [1, 0, 2, 0]


def test_an_even_split_is_background() -> None:
    assert majority_map([reading(5, 5, 0, 0), reading(5, 9, 0, 0)], TARGET)[:, 0, 0].tolist() == [1, 0, 0, 0]


def test_voxels_that_nobody_read_get_the_ignore_value() -> None:
    maps = [reading(255, 5, 5, 255, slices_read=(0, 0)), reading(255, 255, 5, 9, slices_read=(0, 0))]

    labels = majority_map(maps, TARGET)

    assert labels[:, 0, 0].tolist() == [3, 1, 1, 2] and (labels[:, 0, 1] == 3).all()


def test_only_those_who_looked_for_a_structure_vote() -> None:
    maps = [reading(5, 0, 0, 0), reading(0, 9, 0, 0, labelled=("spleen",)), reading(0, 9, 0, 0, labelled=("spleen",))]

    assert majority_map(maps, TARGET)[:, 0, 0].tolist() == [1, 2, 0, 0]


def test_majorities_of_different_readers_may_contradict_each_other() -> None:
    maps = [reading(5, 0, 0, 0, labelled=("liver",)), reading(9, 0, 0, 0, labelled=("spleen",))]

    with pytest.raises(LabelError, match=r"case c1: regions overlap.*liver and spleen share 2 voxels"):
        majority_map(maps, TARGET, where="case c1")


def test_a_structure_that_nobody_looked_for_has_no_majority() -> None:
    with pytest.raises(UsageError, match="no majority"):
        majority_map([reading(5, 0, 0, 0, labelled=("liver",))], TARGET)
