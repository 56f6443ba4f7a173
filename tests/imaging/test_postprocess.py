"""Tests of the steps after a prediction: names, millilitres and order."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.errors import LabelError
from medseg.imaging.labels import LabelSet
from medseg.imaging.postprocess import DropApart, DropSmall, FillCavities, KeepLargest, Scale, postprocess

LABELS = LabelSet({"background": 0, "liver": 5, "tumour": 7})
SCALE = Scale(LABELS, voxel_ml=0.5)


def _row(*values: int) -> np.ndarray:
    return np.array(values, np.int16).reshape(-1, 1, 1)


def _after(labels: np.ndarray, *steps) -> tuple[list[int], list[int]]:
    changes = postprocess(labels, steps, SCALE)
    return labels.ravel().tolist(), [change.voxels for change in changes]


def test_names_become_the_values_of_the_files():
    assert _after(_row(5, 5, 0, 5), KeepLargest(("liver",))) == ([5, 5, 0, 0], [1])


def test_a_least_volume_in_ml_is_counted_in_voxels_of_the_study():
    assert _after(_row(5, 5, 0, 5), DropSmall(("liver",), below_ml=1.0)) == ([5, 5, 0, 0], [1])
    assert _after(_row(5, 5, 0, 5), DropSmall(("liver",), below_ml=0.5)) == ([5, 5, 0, 5], [0])


def test_a_lesion_stays_only_where_it_touches_its_organ():
    assert _after(_row(7, 0, 5, 7), DropApart(("tumour",), ("liver",))) == ([0, 0, 5, 7], [1])


def test_the_order_counts():
    organ_first = KeepLargest(("liver",)), DropApart(("tumour",), ("liver",))
    assert _after(_row(5, 5, 0, 7, 5, 0), *organ_first) == ([5, 5, 0, 0, 0, 0], [1, 1])
    assert _after(_row(5, 5, 0, 7, 5, 0), *organ_first[::-1]) == ([5, 5, 0, 7, 0, 0], [0, 1])


def test_cavities_up_to_a_volume_are_filled():
    labels = np.full((7, 3, 3), 5, np.int16)
    labels[1, 1, 1] = labels[3, 1, 1] = labels[4, 1, 1] = 0
    assert _after(labels.copy(), FillCavities(("liver",), up_to_ml=0.5))[1] == [1]
    assert _after(labels.copy(), FillCavities(("liver",)))[1] == [3]


def test_a_structure_that_there_is_not_is_refused():
    with pytest.raises(LabelError, match=r"no such structure 'spleen'.*liver, tumour"):
        postprocess(_row(5), [DropApart(("tumour",), ("spleen",))], SCALE)


def test_no_step_changes_nothing():
    assert _after(_row(5, 0, 5)) == ([5, 0, 5], [])


def test_a_step_sees_what_the_one_before_gave_to_its_structure():
    removed_then_judged = KeepLargest(("liver",)), DropSmall(("tumour",), below_ml=1.5)  # 3 voxels
    assert _after(_row(5, 5, 5, 0, 7, 5, 5), *removed_then_judged) == ([5, 5, 5, 0, 7, 7, 7], [2, 0])


def _peak_bytes(labels: np.ndarray, steps: list) -> int:
    label_set = LabelSet({"background": 0, "liver": 1, "tumour": 2})
    postprocess(labels.copy(order="F"), steps, Scale(label_set, 0.001))  # the compiled code is loaded
    tracemalloc.start()
    postprocess(labels, steps, Scale(label_set, 0.001))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_is_a_small_share_of_the_labels():
    labels = np.zeros((200, 180, 150), np.uint8, order="F")
    labels[20:180, 20:160, 10:140] = 1
    labels[60:90, 60:90, 40:80] = 2
    rng = np.random.default_rng(0)
    labels[tuple(rng.integers(0, n, 2000) for n in labels.shape)] = rng.integers(0, 3, 2000)  # specks and cavities
    steps = [KeepLargest(("liver",)), FillCavities(("liver",)), DropApart(("tumour",), ("liver",))]

    assert _peak_bytes(labels, steps) < 0.35 * labels.nbytes  # scipy.ndimage.label alone takes 4 bytes a voxel


@settings(deadline=None)  # the first call compiles
@given(arrays(np.uint8, st.tuples(*[st.integers(1, 7)] * 3), elements=st.integers(0, 3)))
def test_steps_together_are_what_they_are_one_by_one(labels: np.ndarray):
    label_set = LabelSet({"background": 0, "a": 1, "b": 2, "c": 3})
    steps = [KeepLargest(("a",)), FillCavities(("b",)), DropApart(("c",), ("a",)), DropSmall(("a", "b"), 1.5),
             KeepLargest(("c", "b"))]  # fmt: skip
    together = labels.copy()
    postprocess(together, steps, Scale(label_set, 0.5))
    for step in steps:  # each finds anew where the labels lie
        step.apply(labels, Scale(label_set, 0.5))
    np.testing.assert_array_equal(together, labels)
