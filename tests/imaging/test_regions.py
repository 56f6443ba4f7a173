"""Structures that overlap: what a reading of separate masks means, and when it may become one label map."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import GeometryError, LabelError
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import IGNORE_INDEX, LabelMap, LabelSet
from medseg.imaging.regions import RegionMap, merge, overlaps, refuse_overlaps, turned

LABELS = LabelSet({"background": 0, "kidney": 4, "tumour": 9, "cyst": 2})
GRID = Geometry((4, 3, 2), np.diag([1.0, 1.0, 5.0, 1.0]))


def slab(first: int, last: int) -> np.ndarray:
    """True for X from first to last: 6 voxels (0.03 ml) a step."""
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[first : last + 1] = True
    return mask


def regions(**fields) -> RegionMap:
    return RegionMap({"kidney": slab(0, 2), "tumour": slab(2, 3)}, GRID, LABELS, **fields)


def test_overlaps_name_each_pair_that_shares_voxels():
    masks = {"a": slab(0, 2), "b": slab(2, 3), "c": slab(0, 0), "d": np.zeros(GRID.shape, dtype=bool)}
    assert overlaps(masks) == [("a", "b", 6), ("a", "c", 6)]


def test_masks_whose_boxes_cross_but_share_no_voxel_do_not_overlap():
    checks = np.indices(GRID.shape).sum(axis=0) % 2 == 0
    assert overlaps({"white": checks, "black": ~checks}) == []


def test_separate_regions_merge_into_the_label_sets_own_values():
    merged = merge({"tumour": slab(3, 3), "kidney": slab(1, 2)}, LABELS)
    assert merged[:, 0, 0].tolist() == [0, 4, 4, 9]


def test_an_overlap_without_a_priority_is_refused_with_its_volume():
    with pytest.raises(LabelError, match=r"case c1: regions overlap.*kidney and tumour share 6 voxels \(0.03 ml\)"):
        regions().merged(where="case c1")


@pytest.mark.parametrize(("priority", "shared"), [(["tumour", "kidney"], 9), (["kidney"], 4), (["cyst", "tumour"], 9)])
def test_the_first_of_the_priority_wins_where_regions_overlap(priority, shared):
    assert regions().merged(priority).labels[2, 0, 0] == shared


def test_a_priority_that_names_neither_of_two_overlapping_regions_does_not_help():
    with pytest.raises(LabelError, match="kidney and tumour share 6 voxels"):
        merge({"kidney": slab(0, 2), "tumour": slab(2, 3)}, LABELS, priority=["cyst"])


def test_an_unknown_name_in_the_priority_is_refused():
    with pytest.raises(LabelError, match="'tumor' is no structure of the label set; expected one of kidney, tumour"):
        merge({"kidney": slab(0, 1)}, LABELS, priority=["tumor"])


def test_a_structure_without_a_mask_was_not_read_unless_it_is_listed():
    assert not regions().was_read("cyst")
    listed = regions(labelled=("kidney", "cyst"))
    assert listed.was_read("cyst") and not listed.mask("cyst").any()
    assert not listed.was_read("tumour")


def test_merged_regions_keep_what_was_not_read():
    separate = RegionMap({"kidney": slab(0, 1)}, GRID, LABELS, slices_read=(1, 1))
    assert separate.merged().labelled == ("kidney",)
    assert separate.indices[0, 0].tolist() == [IGNORE_INDEX, 1]


def test_a_reading_without_any_mask_merges_to_background():
    nothing = RegionMap({}, GRID, LABELS, labelled=("kidney",))
    assert not nothing.merged().labels.any() and nothing.boxes() == {}


@pytest.mark.parametrize("name", ["background", "spleen"])
def test_a_mask_of_no_known_structure_is_refused(name):
    with pytest.raises(LabelError, match=f"'{name}' is no structure"):
        RegionMap({name: slab(0, 1)}, GRID, LABELS)
    with pytest.raises(LabelError, match=f"'{name}' is no structure"):
        regions().mask(name)


def test_masks_of_another_shape_or_type_are_refused():
    with pytest.raises(GeometryError, match="the mask of 'kidney' and the grid differ"):
        RegionMap({"kidney": np.zeros((4, 3, 3), dtype=bool)}, GRID, LABELS)
    with pytest.raises(LabelError, match="the mask of 'kidney' is not boolean; got uint8"):
        RegionMap({"kidney": slab(0, 1).astype(np.uint8)}, GRID, LABELS)  # type: ignore[dict-item]


def test_regions_and_a_label_map_answer_alike_where_nothing_overlaps():
    separate = RegionMap({"kidney": slab(0, 1), "tumour": slab(3, 3)}, GRID, LABELS, slices_read=(0, 0))
    together = LabelMap(separate.merged().labels, GRID, LABELS, slices_read=(0, 0))
    box = np.s_[1:4, 0:2, 0:2]
    assert separate.boxes() == together.boxes()
    for name in LABELS.foreground:
        assert np.array_equal(separate.mask(name), together.mask(name))
        assert np.array_equal(separate.mask_in(name, box), together.mask_in(name, box))
    for known in (separate.known_in(box), together.known_in(box)):
        assert known is not None and known[0, 0].tolist() == [True, False]


def test_training_refuses_overlaps_and_takes_separate_regions():
    with pytest.raises(LabelError, match=r"rater A: .*sigmoid regions later.*kidney and tumour share 6 voxels"):
        refuse_overlaps(regions(), where="rater A")
    refuse_overlaps(RegionMap({"kidney": slab(0, 1)}, GRID, LABELS), where="")


def test_turned_regions_lie_in_the_same_place_in_the_patient():
    flipped = Geometry(GRID.shape, GRID.affine @ np.array([[-1, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    moved = turned(regions(), flipped)
    assert np.array_equal(moved.mask("tumour"), slab(0, 1))
    labels = turned(LabelMap(slab(2, 3).astype(np.uint8) * 9, GRID, LABELS), flipped)
    assert np.array_equal(labels.mask("tumour"), slab(0, 1))
