"""Pattern counts: every voxel of the domain once, missing opinions apart, the same from masks and from readings."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from medseg.errors import GeometryError, UsageError
from medseg.evaluation.domain import WHOLE, Domain, dilate
from medseg.evaluation.patterns import Patterns, count_case_patterns, count_patterns, map_patterns, pattern_codes
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet
from medseg.imaging.regions import Reading, RegionMap

SPACING = (1.0, 2.0, 3.0)


def counted(patterns: Patterns) -> Counter:
    return Counter(dict(zip(map(tuple, patterns.votes.tolist()), patterns.counts.tolist(), strict=True)))


def by_hand(masks, read, inside) -> Counter:
    """One voxel after the other."""
    rows: Counter = Counter()
    for voxel in np.argwhere(inside):
        row = tuple(
            -1 if where is not None and not where[tuple(voxel)] else int(mask[tuple(voxel)])
            for mask, where in zip(masks, read, strict=True)
        )
        rows[row] += any(vote >= 0 for vote in row)
    return +rows


def some_masks(readers: int) -> list[np.ndarray]:
    rng = np.random.default_rng(readers)
    masks = [np.zeros((7, 8, 6), dtype=bool) for _ in range(readers)]
    for mask in masks:
        mask[2:5, 3:6, 2:4] = rng.random((3, 3, 2)) < 0.6
    return masks


@pytest.mark.parametrize("readers", [1, 3, 9, 17])
@pytest.mark.parametrize("domain", [WHOLE, Domain(0.0), Domain(3.0)])
def test_every_voxel_of_the_domain_is_counted_once(readers, domain):
    masks = some_masks(readers)
    union = np.any(masks, axis=0)
    inside = np.ones_like(union) if domain is WHOLE else dilate(union, SPACING, domain.margin_mm)
    found = count_patterns(masks, spacing_mm=SPACING, domain=domain)
    assert counted(found) == by_hand(masks, [None] * readers, inside) and found.voxels == inside.sum()


@pytest.mark.parametrize("readers", [2, 5, 20])
@pytest.mark.parametrize("domain", [WHOLE, Domain(3.0)])
def test_an_unread_slice_is_a_pattern_of_its_own(readers, domain):
    masks, first = some_masks(readers), np.zeros((7, 8, 6), dtype=bool)
    first[..., :3] = True
    read = [first, *[None] * (readers - 1)]
    union = np.any([masks[0] & first, *masks[1:]], axis=0)
    inside = np.ones_like(union) if domain is WHOLE else dilate(union, SPACING, domain.margin_mm)
    assert counted(count_patterns(masks, read, spacing_mm=SPACING, domain=domain)) == by_hand(masks, read, inside)


def test_voxels_that_nobody_read_are_not_counted():
    read = np.arange(6) < 2
    found = count_patterns(some_masks(2), [read, read], spacing_mm=SPACING, domain=WHOLE)
    assert found.voxels == 7 * 8 * 2 and (found.votes >= 0).all()


def test_nobody_marked_anything():
    empty = np.zeros((4, 4, 4), dtype=bool)
    assert count_patterns([empty, empty], spacing_mm=SPACING).voxels == 0
    assert counted(count_patterns([empty, empty], spacing_mm=SPACING, domain=WHOLE)) == {(0, 0): 64}


def test_the_order_in_memory_changes_nothing():
    masks = some_masks(3)
    turned = [np.asfortranarray(masks[0]), *masks[1:]]
    assert counted(count_patterns(turned, spacing_mm=SPACING)) == counted(count_patterns(masks, spacing_mm=SPACING))


def test_a_map_puts_the_value_of_its_pattern_at_every_voxel():
    masks = some_masks(3)
    votes = map_patterns(masks, None, lambda votes: votes.sum(axis=1).astype(float))
    assert (votes == np.sum(masks, axis=0)).all()


def test_overlaps_of_pairs_are_counted_where_both_read():
    a, b = np.ones((1, 1, 4), dtype=bool), np.array([[[True, False, True, False]]])
    read = np.array([[[True, True, False, False]]])
    both, either = count_patterns([a, b], [None, read], spacing_mm=SPACING).overlaps
    assert (both[0, 1], either[0, 1], both[0, 0]) == (1, 2, 4)


@pytest.mark.parametrize(("readers", "gaps"), [(65, False), (33, True)])
def test_more_readers_than_bits_are_refused(readers, gaps):
    mask = np.ones((1, 1, 1), dtype=bool)
    with pytest.raises(UsageError, match=f"at most {readers - 1}, got {readers}"):
        pattern_codes([mask] * readers, [mask if gaps else None] * readers)


def test_masks_and_read_that_do_not_fit_are_refused():
    mask = np.ones((2, 2, 2), dtype=bool)
    with pytest.raises(UsageError, match="1 masks, 2 read"):
        count_patterns([mask], [None, None], spacing_mm=SPACING)
    with pytest.raises(GeometryError, match="masks of different shapes"):
        count_patterns([mask, mask[:1]], spacing_mm=SPACING)


# --- readings of a case

LABELS = LabelSet({"background": 0, "liver": 5, "spleen": 9}, ignore=255)
GRID = Geometry((7, 8, 6), np.diag([*SPACING, 1.0]))


def label_map(liver: np.ndarray, **facts) -> LabelMap:
    labels = np.where(liver, 5, 0).astype(np.uint8)
    labels[0, 0, 0] = 9
    return LabelMap(labels, GRID, LABELS, **facts)


@pytest.mark.parametrize("domain", [WHOLE, Domain(), Domain(0.0)])
def test_readings_give_the_same_counts_as_their_masks(domain):
    masks = some_masks(3)
    readings: dict[str, Reading] = {str(k): label_map(mask) for k, mask in enumerate(masks[:2])}
    readings["2"] = RegionMap({"liver": masks[2], "spleen": np.zeros_like(masks[2])}, GRID, LABELS)
    found = count_case_patterns(readings, domain=domain)
    assert list(found) == ["liver", "spleen"]
    assert counted(found["liver"]) == counted(count_patterns(masks, spacing_mm=SPACING, domain=domain))


@pytest.mark.parametrize("domain", [WHOLE, Domain()])
def test_ignored_voxels_and_unread_slices_of_a_reading_are_missing(domain):
    a, b = some_masks(2)
    ignoring, partial = label_map(a), label_map(b, slices_read=(1, 3))
    ignoring.labels[6, 7, 5] = 255
    read = [ignoring.labels != 255, np.isin(np.arange(6), (1, 2, 3))]
    found = count_case_patterns({"A": ignoring, "B": partial}, ["liver"], domain=domain)["liver"]
    assert counted(found) == counted(count_patterns([a, b], read, spacing_mm=SPACING, domain=domain))


def test_who_did_not_look_for_a_structure_takes_no_part_in_it():
    masks = some_masks(3)
    readings = {"A": label_map(masks[0]), "B": label_map(masks[1], labelled=("spleen",)), "C": label_map(masks[2])}
    found = count_case_patterns(readings, ["liver"])
    assert found["liver"].readers == 2
    assert count_case_patterns({"B": readings["B"]}, ["liver"]) == {} == count_case_patterns({})
