"""Tests of connected pieces of labels: drawn by hand, and against scipy on random ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from medseg.errors import UsageError
from medseg.imaging.pieces import (
    Ground,
    drop_apart,
    drop_small,
    fill_cavities,
    find_cavities,
    find_pieces,
    keep_largest,
)

RANDOM = arrays(np.uint8, st.tuples(*[st.integers(1, 7)] * 3), elements=st.integers(0, 2))
LAYOUTS = {"X slowest": lambda a: np.ascontiguousarray(a), "X fastest": lambda a: np.asfortranarray(a),
           "a view": lambda a: np.repeat(a, 2, axis=1)[::-1, ::2][::-1]}  # fmt: skip


def _row(*values: int) -> np.ndarray:
    return np.array(values, np.int16).reshape(-1, 1, 1)


def _sizes(mask: np.ndarray, corners: int) -> list[int]:
    labelled, count = ndimage.label(mask, ndimage.generate_binary_structure(3, corners))
    return sorted(np.bincount(labelled.ravel(), minlength=count + 1)[1:].tolist())


@settings(deadline=None)  # the first call compiles
@given(RANDOM)
def test_pieces_are_those_of_scipy_over_26_neighbours(labels: np.ndarray):
    found = find_pieces(labels, [1])
    assert (sorted(found.voxels.tolist()) if found else []) == _sizes(labels == 1, 3)


@settings(deadline=None)  # the first call compiles
@given(RANDOM)
def test_pieces_of_two_labels_together_are_those_of_their_union(labels: np.ndarray):
    found = find_pieces(labels, [1, 2])
    assert (sorted(found.voxels.tolist()) if found else []) == _sizes(labels > 0, 3)


@settings(deadline=None)  # the first call compiles
@given(RANDOM)
def test_filling_is_that_of_scipy_but_for_other_labels(labels: np.ndarray):
    expected = np.where(ndimage.binary_fill_holes(labels == 1) & (labels == 0), 1, labels)
    fill_cavities(labels, 1)
    np.testing.assert_array_equal(labels, expected)


@settings(deadline=None)  # the first call compiles
@given(RANDOM, st.integers(1, 30))
def test_small_pieces_go_and_the_rest_of_the_structure_stays(labels: np.ndarray, least: int):
    labelled, _ = ndimage.label(labels == 1, np.ones((3, 3, 3)))
    stays = (labels == 1) & (np.bincount(labelled.ravel())[labelled] >= least)
    before = labels.copy()
    changed = drop_small(labels, [1], least)
    np.testing.assert_array_equal(labels == 1, stays)
    assert changed == np.count_nonzero(labels != before)
    np.testing.assert_array_equal(labels[before == 2], 2)


@settings(deadline=None)  # the first call compiles
@given(RANDOM)
def test_a_piece_stays_if_it_touches_the_organ_over_a_corner(labels: np.ndarray):
    before = labels.copy()
    near = ndimage.binary_dilation(labels == 2, np.ones((3, 3, 3)))
    labelled, count = ndimage.label(labels == 1, np.ones((3, 3, 3)))
    kept = [k for k in range(1, count + 1) if near[labelled == k].any()]
    drop_apart(labels, [1], [2])
    np.testing.assert_array_equal(labels == 1, np.isin(labelled, kept) & (before == 1))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_layout_in_memory_does_not_matter(layout):
    labels = np.random.default_rng(0).integers(0, 3, (9, 8, 7)).astype(np.int16)
    turned = layout(labels)
    expected = labels.copy()
    assert keep_largest(turned, [1]) == keep_largest(expected, [1])
    assert fill_cavities(turned, 2) == fill_cavities(expected, 2)
    np.testing.assert_array_equal(turned, expected)


def test_the_two_largest_pieces_stay():
    labels = _row(1, 0, 1, 1, 0, 1, 1, 1)
    assert keep_largest(labels, [1], 2) == 1
    assert labels.ravel().tolist() == [0, 0, 1, 1, 0, 1, 1, 1]


def test_of_equal_pieces_one_stays():
    labels = _row(1, 0, 1)
    keep_largest(labels, [1])
    assert labels.sum() == 1


def test_a_piece_that_is_removed_inside_an_organ_becomes_the_organ():
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[1:8, 1:8, 1:8] = 2
    labels[3, 3, 3] = 1
    labels[5:7, 5:7, 5:7] = 1
    keep_largest(labels, [1])
    assert labels[3, 3, 3] == 2 and np.count_nonzero(labels == 1) == 8


def test_a_piece_of_which_half_the_faces_look_to_background_becomes_background():
    labels = _row(2, 1, 0, 1, 1)  # the first piece has one face to the organ and one to the background
    keep_largest(labels, [1])
    assert labels.ravel().tolist() == [2, 0, 0, 1, 1]


def test_pieces_of_two_labels_that_are_one_structure_go_together():
    labels = _row(1, 2, 0, 2, 0, 1, 1, 2)
    assert keep_largest(labels, [1, 2]) == 3
    assert labels.ravel().tolist() == [0, 0, 0, 0, 0, 1, 1, 2]


def test_another_label_in_a_cavity_stays():
    labels = np.ones((5, 5, 5), np.uint8)
    labels[1:4, 1:4, 1:4] = 0
    labels[2, 2, 2] = 2
    assert fill_cavities(labels, 1) == 26
    assert labels[2, 2, 2] == 2


def test_a_cavity_above_the_size_that_is_asked_for_stays():
    labels = np.ones((7, 3, 3), np.uint8)
    labels[1, 1, 1] = labels[3, 1, 1] = labels[4, 1, 1] = 0
    assert fill_cavities(labels, 1, most_voxels=1) == 1
    assert labels[3, 1, 1] == 0


def test_a_hollow_that_reaches_the_edge_of_the_image_is_no_cavity():
    labels = np.ones((3, 3, 3), np.uint8)
    labels[1, 1, 1:] = 0
    assert fill_cavities(labels, 1) == 0


def test_a_structure_that_is_absent_changes_nothing():
    labels = np.zeros((3, 3, 3), np.uint8)
    assert find_pieces(labels, [1]) is None and find_cavities(labels, [1]) is None
    assert [keep_largest(labels, [1]), drop_small(labels, [1], 5), drop_apart(labels, [1], [2])] == [0, 0, 0]


def test_the_background_need_not_be_zero():
    labels = _row(7, 1, 7, 1, 1)
    keep_largest(labels, [1], ground=Ground(7))
    assert labels.ravel().tolist() == [7, 7, 7, 1, 1]


def test_overlap_of_pieces_with_a_reference_of_another_layout():
    labels, reference = _row(1, 1, 0, 1), np.asfortranarray(_row(0, 3, 3, 3).astype(np.uint8))
    assert find_pieces(labels, [1]).common(reference, [3]).tolist() == [1, 1]


def test_more_pieces_than_the_memory_allows_are_refused():
    labels = (np.indices((40, 40, 40)) % 2).all(axis=0).astype(np.uint8)
    assert find_pieces(labels, [1], Ground(most_bytes=10_000_000)).count == 8000
    with pytest.raises(UsageError, match="too many pieces"):
        find_pieces(labels, [1], Ground(most_bytes=400_000))
