"""Cases on the plan's grid: every rater kept with what they looked for, majority voted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medseg.data.store import StoredCase, store_case
from medseg.errors import LabelError
from medseg.imaging.case import Case
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet
from medseg.imaging.regions import RegionMap
from medseg.imaging.volume import Volume
from medseg.preprocessing.plan import Plan, PreprocessingConfig

GRID = Geometry((6, 6, 4), np.eye(4))
LABELS = LabelSet({"background": 0, "liver": 5, "spleen": 6}, ignore=255)
PLAN = Plan(patch=(4, 4, 4), spacing_mm=(1, 1, 1), window_hu=(-160, 240), mean_hu=0, std_hu=1,
            preprocessing=PreprocessingConfig(crop_to_body=False))  # fmt: skip


def reading(value: int, **partly: Any) -> LabelMap:
    """Voxel (1, 1, 1) has this value and (0, 0, 0) is to be ignored."""
    labels = np.zeros(GRID.shape, dtype=np.uint8)
    labels[1, 1, 1], labels[0, 0, 0] = value, 255
    return LabelMap(labels, GRID, LABELS, **partly)


def store(mode: Any, hu_value: float = 40.4, **raters: LabelMap) -> StoredCase:
    hu = np.full(GRID.shape, hu_value, dtype=np.float32)
    return store_case(Case("c1", Volume(hu, GRID), raters), PLAN, mode)


@pytest.mark.parametrize("mode", ["random", "soft"])
def test_every_raters_labels_are_kept_as_class_indices(mode: str) -> None:
    case = store(mode, A=reading(5), B=reading(6))

    assert case.labels.shape == (2, *GRID.shape)
    assert case.labels[:, 1, 1, 1].tolist() == [1, 2]
    assert case.labels[:, 0, 0, 0].tolist() == [-1, -1]
    assert {index: places.tolist() for index, places in case.places.items()} == {1: [[1, 1, 1]], 2: [[1, 1, 1]]}


def test_a_majority_leaves_one_reading() -> None:
    case = store("majority", A=reading(5), B=reading(5), C=reading(6))

    assert case.labels.shape == (1, *GRID.shape)
    assert case.labels[0, 1, 1, 1] == 1
    assert list(case.places) == [1]


def regions(**slabs: tuple[int, int]) -> RegionMap:
    masks = {name: np.zeros(GRID.shape, dtype=bool) for name in slabs}
    for name, (first, last) in slabs.items():
        masks[name][first : last + 1] = True
    return RegionMap(masks, GRID, LABELS)


def test_regions_that_do_not_overlap_are_merged_and_trained_on() -> None:
    case = store("random", A=regions(liver=(0, 1), spleen=(3, 4)))

    assert case.labels[0, :, 0, 0].tolist() == [1, 1, 0, 2, 2, 0]


def test_regions_that_overlap_are_refused_in_one_sentence() -> None:
    with pytest.raises(LabelError, match=r"case c1, rater A: regions that overlap.*liver and spleen share 24 voxels"):
        store("random", A=regions(liver=(0, 1), spleen=(1, 4)))


def test_regions_without_a_mask_were_not_looked_for() -> None:
    case = store("random", A=regions(liver=(0, 1)))

    assert case.known is not None and case.known.tolist() == [[True, True, False]]
    assert case.labels[0, :, 0, 0].tolist() == [1, 1, 0, 0, 0, 0]


def test_hu_are_stored_as_whole_numbers() -> None:
    assert store("random", A=reading(5)).hu.unique().tolist() == [40]


@pytest.mark.parametrize("hu, kept", [(40_000, 32767), (-40_000, -32768)])
def test_hu_beyond_what_is_stored_become_its_ends_and_do_not_wrap(hu: float, kept: int) -> None:
    assert store("random", hu, A=reading(5)).hu.unique().tolist() == [kept]


def test_slices_that_were_not_read_are_unknown() -> None:
    case = store("soft", A=reading(5, slices_read=(1, 2)))

    assert (case.labels[0, :, :, [0, 3]] == -1).all()
    assert (case.labels[0, :, :, 1:3] >= 0).all()


def test_a_case_without_rater_is_refused() -> None:
    with pytest.raises(LabelError, match=r"case c1: no rater has labelled this case"):
        store("random")


def test_what_a_rater_looked_for_is_kept_and_the_rest_of_the_drawing_is_not() -> None:
    case = store("random", A=reading(5), B=reading(6, labelled=("liver",)))

    assert case.raters == ("A", "B")
    assert case.known is not None and case.known.tolist() == [[True, True, True], [True, True, False]]
    assert case.labels[:, 1, 1, 1].tolist() == [1, 0]  # B's spleen counts as not read


def test_where_everybody_looked_for_everything_nothing_is_unknown() -> None:
    assert store("random", A=reading(5), B=reading(5, labelled=("liver", "spleen"))).known is None


def test_a_rater_who_looked_for_nothing_has_not_read_the_case() -> None:
    assert store("random", A=reading(5), B=reading(5, labelled=())).raters == ("A",)
    with pytest.raises(LabelError, match=r"case c1: no rater has labelled this case"):
        store("random", B=reading(5, labelled=()))


def test_a_majority_knows_what_anybody_looked_for_and_has_no_reader() -> None:
    case = store("majority", A=reading(5, labelled=("liver",)), B=reading(5, labelled=("liver",)))

    assert case.known is not None and case.known.tolist() == [[True, True, False]]
    assert case.raters == () and case.labels[0, 1, 1, 1] == 1
