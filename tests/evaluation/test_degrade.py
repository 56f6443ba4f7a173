"""Known damage, measured with a ruler."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import UsageError
from medseg.evaluation.degrade import Damage, dilate, drop_largest, drop_lesions, erode, read_damage, shift
from medseg.evaluation.surface import hd95

SPACING = (1.0, 2.0, 3.0)


def box(shape=(20, 20, 20), low=(5, 5, 5), high=(15, 15, 15)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def extent(mask: np.ndarray) -> list[int]:
    """Voxels from the first to the last along each axis."""
    places = np.argwhere(mask)
    return (places.max(axis=0) - places.min(axis=0) + 1).tolist()


@pytest.mark.parametrize(
    ("mm", "expected"), [(1, [12, 10, 10]), (2, [14, 12, 10]), (3, [16, 12, 12]), (6, [20, 16, 14])]
)
def test_a_box_grows_by_whole_voxels_that_fit_the_length(mm, expected):
    assert extent(dilate(box(), SPACING, mm)) == [min(size, 20) for size in expected]


@pytest.mark.parametrize(("mm", "expected"), [(1, [8, 10, 10]), (2, [6, 8, 10]), (3, [4, 8, 8]), (4, [2, 6, 8])])
def test_a_box_shrinks_by_the_same_length(mm, expected):
    mask = erode(box(), SPACING, mm)
    assert extent(mask) == expected and mask.sum() == np.prod(expected)  # corners stay sharp when a box shrinks


def test_a_single_voxel_grows_to_a_ball():
    ball = dilate(box(low=(10, 10, 10), high=(11, 11, 11)), (1.0, 1.0, 1.0), 3.0)
    x, y, z = np.indices(ball.shape) - 10
    assert (ball == (x**2 + y**2 + z**2 <= 9)).all() and ball.sum() == 123


def test_one_tenth_of_a_millimetre_is_counted_exactly():
    mask = box(low=(5, 5, 5), high=(6, 6, 6))
    assert extent(dilate(mask, (0.1, 0.1, 0.1), 0.3)) == [7, 7, 7]  # 3 x 0.1 is a little above 0.3 in floats


def test_the_outside_of_the_image_is_background_for_erosion():
    assert erode(np.ones((5, 5, 5), dtype=bool), (1.0, 1.0, 1.0), 2.0).sum() == 1


def test_too_much_erosion_leaves_nothing_and_empty_stays_empty():
    assert not erode(box(), SPACING, 100).any()
    empty = np.zeros((4, 4, 4), dtype=bool)
    assert not dilate(empty, SPACING, 5).any() and not erode(empty, SPACING, 5).any()


@pytest.mark.parametrize("mm", [0.0, -1.0, 0.9, float("nan")])
@pytest.mark.parametrize("change", [dilate, erode])
def test_an_amount_below_the_smallest_spacing_is_refused(change, mm):
    with pytest.raises(UsageError, match="at least the smallest spacing, 1 mm"):
        change(box(), SPACING, mm)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), mm=st.floats(1.0, 5.0))
def test_erosion_is_the_dilation_of_the_outside(seed, mm):
    mask = np.zeros((16, 14, 12), dtype=bool)
    mask[6:10, 5:9, 5:7] = np.random.default_rng(seed).random((4, 4, 2)) < 0.7
    grown = dilate(mask, SPACING, mm)
    inside = (slice(6, 10), slice(5, 9), slice(5, 7))
    assert (mask <= grown).all()
    assert (erode(~mask, SPACING, mm)[inside] == ~grown[inside]).all()


def test_a_shift_moves_by_the_millimetres_asked_for():
    moved = shift(box(), SPACING, (3.0, -2.0, 6.0))
    assert (moved == box(low=(8, 4, 7), high=(18, 14, 17))).all()
    assert hd95(box(), shift(box(), SPACING, (4.0, 0.0, 0.0)), SPACING) == pytest.approx(4.0)


def test_a_shift_goes_to_the_nearest_voxel():
    assert (shift(box(), SPACING, (0.6, 0.9, 0.0)) == shift(box(), SPACING, (1.0, 0.0, 0.0))).all()


def test_what_leaves_the_image_is_lost():
    assert shift(box(), SPACING, (8.0, 0.0, 0.0)).sum() == 7 * 100
    assert not shift(box(), SPACING, (0.0, 0.0, 1e4)).any()


def test_a_shift_of_less_than_half_a_voxel_is_refused():
    with pytest.raises(UsageError, match="moves no voxel"):
        shift(box(), SPACING, (0.4, 0.9, 1.4))


def lesions() -> np.ndarray:
    mask = box(low=(1, 1, 1), high=(4, 4, 4))
    mask[10:12, 10:12, 10:12] = True
    mask[12, 12, 12] = True  # joined by a corner: one lesion of nine voxels
    mask[18, 18, 18] = True
    return mask


def test_the_largest_lesion_is_dropped_and_the_others_stay():
    left = drop_largest(lesions())
    assert left.sum() == 10 and not left[1:4, 1:4, 1:4].any()
    assert drop_largest(left).sum() == 1


def test_dropping_from_nothing_or_from_one_lesion_leaves_nothing():
    assert not drop_largest(np.zeros((3, 3, 3), dtype=bool)).any()
    assert not drop_largest(box()).any()


def test_a_share_of_lesions_is_dropped_whole():
    rng = np.random.default_rng(0)
    sizes = {int(drop_lesions(lesions(), 0.5, rng).sum()) for _ in range(60)}
    assert sizes <= {0, 1, 9, 10, 27, 28, 36, 37} and len(sizes) > 4
    assert not drop_lesions(lesions(), 1.0, rng).any()


def test_one_lesion_in_five_is_missed_in_the_long_run():
    rng = np.random.default_rng(1)
    kept = np.mean([drop_lesions(lesions(), 0.2, rng)[18, 18, 18] for _ in range(600)])
    assert kept == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_a_share_outside_its_range_is_refused(share):
    with pytest.raises(UsageError, match="share"):
        drop_lesions(lesions(), share, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dilate:1.5", Damage("dilate", mm=1.5)),
        ("erode:2", Damage("erode", mm=2.0)),
        ("shift:3,0,-1.5", Damage("shift", by_mm=(3.0, 0.0, -1.5))),
        ("drop:largest", Damage("drop")),
        ("drop:0.2", Damage("drop", share=0.2)),
        ("copy:reader 1", Damage("copy", reader="reader 1")),
        ("majority", Damage("majority")),
    ],
)
def test_damage_is_read_from_its_word(text, expected):
    assert read_damage(text) == expected


@pytest.mark.parametrize(
    "text", ["", "erode", "erode:", "erode:-1", "erode:nan", "shift:1,2", "drop:0", "drop:2", "copy:", "blur:3",
             "majority:2", "dilate:1,2,3", "erode:inf"]
)  # fmt: skip
def test_unknown_damage_lists_the_forms(text):
    with pytest.raises(UsageError, match="erode:MM"):
        read_damage(text)


def test_every_kind_of_damage_is_done():
    readers = {"A": box(), "B": box(), "C": lesions()}
    rng = np.random.default_rng(0)

    def done(text: str) -> np.ndarray:
        return read_damage(text).apply(lesions(), SPACING, readers, rng)

    assert (done("copy:A") == box()).all() and done("copy:A") is not readers["A"]
    assert (done("majority") == box()).all()
    assert (done("erode:1") == erode(lesions(), SPACING, 1)).all()
    assert (done("dilate:1") == dilate(lesions(), SPACING, 1)).all()
    assert (done("shift:2,0,0") == shift(lesions(), SPACING, (2, 0, 0))).all()
    assert done("drop:largest").sum() == 10 and not done("drop:1").any()


def test_a_reader_who_did_not_read_cannot_be_copied():
    with pytest.raises(UsageError, match="expected A, got B"):
        read_damage("copy:B").apply(box(), SPACING, {"A": box()}, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("erode:2", "erode by 2 mm"),
        ("drop:largest", "drop the largest part"),
        ("copy:A", "copy of A"),
        ("majority", "majority vote of the readers"),
    ],
)
def test_damage_says_what_it_does(text, words):
    assert str(read_damage(text)) == words
