"""Chance-corrected agreement against statsmodels, published examples and the golden numbers."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_fleiss

from medseg.evaluation.domain import WHOLE, Domain
from medseg.evaluation.kappa import chance_corrected, fleiss_kappa, gwet_ac1, krippendorff_alpha
from medseg.evaluation.patterns import count_patterns

UNIT = (1.0, 1.0, 1.0)
NONE = None
# Krippendorff (2011) example C, four observers; the same data are an example of Gwet (2014)
FOUR_OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3),
    (NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE),
)


def table_of(observers, categories) -> np.ndarray:
    """How many observers gave each unit each category."""
    return np.array([[unit.count(value) for value in categories] for unit in zip(*observers, strict=True)])


# --- the coefficients on published ratings


def test_krippendorff_2011_binary_data_of_two_observers():
    observers = ((0, 1, 0, 0, 0, 0, 0, 0, 1, 0), (1, 1, 1, 0, 0, 1, 0, 0, 0, 0))
    assert krippendorff_alpha(table_of(observers, (0, 1))) == pytest.approx(0.095, abs=5e-4)


def test_krippendorff_2011_nominal_data_of_two_observers():
    table = table_of(("aabbdcccedda", "babbbccceddd"), "abcde")
    assert krippendorff_alpha(table) == pytest.approx(0.692, abs=5e-4)


def test_krippendorff_2011_nominal_data_with_missing_values():
    assert krippendorff_alpha(table_of(FOUR_OBSERVERS, range(1, 6))) == pytest.approx(0.743, abs=5e-4)


def test_gwet_2014_four_raters_with_missing_values():
    assert gwet_ac1(table_of(FOUR_OBSERVERS, range(1, 6))) == pytest.approx(0.77544, abs=5e-6)


def test_gwet_2014_two_abstractors_of_100_pregnancies():
    crossed = np.array([[13, 0, 0], [0, 20, 7], [0, 4, 56]])
    rows = np.array([np.eye(3, dtype=int)[a] + np.eye(3, dtype=int)[b] for a in range(3) for b in range(3)])
    assert gwet_ac1(rows, crossed.ravel()) == pytest.approx(0.8493305, abs=5e-8)
    assert krippendorff_alpha(rows, crossed.ravel()) == pytest.approx(0.7972585, abs=5e-8)


def test_golden_ratings_of_other_tools(golden):
    entry = golden["statistics"]
    observers = [tuple(row) for row in entry["kripp_data"]]
    assert krippendorff_alpha(table_of(observers, (1, 2, 3, 4))) == pytest.approx(entry["kripp_wikipedia_nominal"])
    assert fleiss_kappa(np.array(entry["fleiss_wikipedia_counts"])) == pytest.approx(entry["fleiss_wikipedia"])


@pytest.mark.parametrize("seed", range(5))
def test_fleiss_equals_statsmodels(seed):
    rng = np.random.default_rng(seed)
    table = rng.multinomial(4 + seed, rng.dirichlet(np.ones(3), size=60))
    assert fleiss_kappa(table) == pytest.approx(statsmodels_fleiss(table), abs=1e-12)


@pytest.mark.parametrize("coefficient", [fleiss_kappa, krippendorff_alpha, gwet_ac1])
def test_counts_stand_for_repeated_items(coefficient):
    table, counts = np.array([[3, 0], [1, 2], [0, 3], [2, 1]]), np.array([40, 3, 9, 5])
    assert coefficient(table, counts) == pytest.approx(coefficient(np.repeat(table, counts, axis=0)))


def test_one_category_leaves_nothing_to_correct():
    table = np.array([[3, 0], [3, 0]])
    assert np.isnan(fleiss_kappa(table)) and np.isnan(krippendorff_alpha(table)) and gwet_ac1(table) == 1


@pytest.mark.parametrize("table", [np.zeros((0, 2), dtype=int), np.array([[1, 0], [0, 1]])])
def test_nothing_to_pair_is_undefined(table):
    assert np.isnan([fleiss_kappa(table), krippendorff_alpha(table), gwet_ac1(table)]).all()


# --- masks


def worked(masks, pad: int = 0) -> list[np.ndarray]:
    return [np.pad(masks[f"worked/rater{k}"], ((0, 0), (pad, pad), (pad, pad))) for k in (1, 2, 3)]


@pytest.mark.parametrize(
    ("domain", "pad", "keys"),
    [(Domain(0.0), 0, ("fleiss_union", "kripp_union", "gwet_ac1_union")),
     (WHOLE, 0, ("fleiss_full_grid", "kripp_full_grid", "gwet_ac1_full_grid")),
     (WHOLE, 20, ("fleiss_padded20", "kripp_padded20", "gwet_padded20"))],
)  # fmt: skip
def test_worked_example_depends_on_the_field_of_view(golden, masks, domain, pad, keys):
    found = chance_corrected(count_patterns(worked(masks, pad), spacing_mm=(3.0, 1.0, 1.0), domain=domain))
    expected = [golden["worked_example"]["expected"][key] for key in keys]
    assert [found.fleiss, found.krippendorff, found.gwet_ac1] == pytest.approx(expected, abs=1e-5)
    assert found.conformity == pytest.approx(33 / 55)  # 12 + 12 + 9 common, 16 + 20 + 19 of either


def test_the_named_domain_makes_the_field_of_view_irrelevant(masks):
    found = [
        chance_corrected(count_patterns(worked(masks, pad), spacing_mm=UNIT, domain=Domain(3.0))) for pad in (9, 40)
    ]
    assert found[0] == found[1] and found[0].domain == "union of the readers dilated by 3 mm"


def test_golden_nodule_of_four_readers(golden, masks):
    expected = golden["multi_rater"]["L1_lidc_nodule_four_readers"]["expected"]
    readers = [masks[f"lidc_L1/rater{k}"] for k in (1, 2, 3, 4)]
    box = chance_corrected(count_patterns(readers, spacing_mm=UNIT, domain=WHOLE))
    union = chance_corrected(count_patterns(readers, spacing_mm=UNIT, domain=Domain(0.0)))
    assert box.fleiss == pytest.approx(expected["fleiss_bbox"])
    assert union.fleiss == pytest.approx(expected["fleiss_union"])
    assert box.krippendorff == pytest.approx(expected["kripp_bbox"])
    assert box.gwet_ac1 == pytest.approx(expected["gwet_bbox"], abs=1e-5)
    assert box.joint_iou == union.joint_iou == pytest.approx(expected["generalised_iou"])


def test_an_unread_slice_is_missing_and_not_empty(golden, masks):
    expected = golden["multi_rater"]["M04_rater3_missing_slice2"]["expected"]
    cube, read = masks["multi/cube"], np.ones((7, 1, 1), dtype=bool)
    read[2] = False
    readers = [cube, masks["multi/cube_shift_x1"], cube & read]
    found = chance_corrected(count_patterns(readers, [None, None, read], spacing_mm=UNIT, domain=WHOLE))
    assert found.krippendorff == pytest.approx(expected["kripp"])
    assert (found.voxels, found.voxels_all_read) == (343, 294)
    wrong = chance_corrected(count_patterns(readers, spacing_mm=UNIT, domain=WHOLE))
    assert wrong.krippendorff == pytest.approx(expected["kripp_if_wrongly_zero"])


def test_readers_who_agree_everywhere_are_perfect_only_where_there_is_background(golden, masks):
    cube = [masks["multi/cube"]] * 3
    found = chance_corrected(count_patterns(cube, spacing_mm=UNIT, domain=WHOLE))
    assert found.fleiss == found.krippendorff == found.gwet_ac1 == found.conformity == found.joint_iou == 1
    assert np.isnan(chance_corrected(count_patterns(cube, spacing_mm=UNIT, domain=Domain(0.0))).krippendorff)


def test_a_structure_that_nobody_marked_has_no_agreement_beyond_chance(masks):
    found = chance_corrected(count_patterns([masks["multi/empty"]] * 3, spacing_mm=UNIT))
    assert np.isnan([found.fleiss, found.krippendorff, found.gwet_ac1, found.conformity, found.joint_iou]).all()
    assert found.voxels == 0


def test_billions_of_background_voxels_are_counted_exactly():
    votes = np.array([[2, 0], [1, 1], [0, 2]])
    alpha = krippendorff_alpha(votes, np.array([2**40, 10, 45]))
    assert alpha == pytest.approx(0.9, abs=1e-9)  # two readers with Dice 0.9 on endless background
