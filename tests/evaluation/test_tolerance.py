"""Tolerances from the readers of other patients, curves over tolerances, and who draws larger."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import UsageError
from medseg.evaluation.curves import CURVE_MM, surface_curves
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.scoring import score_masks
from medseg.evaluation.signed_distance import signed_bias
from medseg.evaluation.surface import nsd, signed_surface_distance
from medseg.evaluation.tolerance import reader_tolerances, with_tolerances

ONE_MM = (1.0, 1.0, 1.0)


def block(half: int, shift: int = 0, size: int = 24) -> np.ndarray:
    """A cube of 2 * half voxels a side in the middle, moved along Z."""
    mask, middle = np.zeros((size, size, size), dtype=bool), size // 2
    side = slice(middle - half, middle + half)
    mask[side, side, middle - half + shift : middle + half + shift] = True
    return mask


def case(patient: str, name: str = "", keep_gaps: bool = True, **masks) -> CaseScores:
    scores = score_masks(masks, ONE_MM, label="x", keep_gaps=keep_gaps)
    return CaseScores(name or patient, patient, scores, 40.0)


@pytest.fixture(scope="module")
def study():
    """Readers lie 0, 1 and 2 mm apart along Z in three patients; the model copies reader A."""
    return [case(f"p{k}", A=block(5), B=block(5, k), M=block(5)) for k in range(3)]


def test_a_patient_is_judged_by_the_distances_of_the_others(study):
    found = reader_tolerances(study, "x", ["A", "B"])
    assert {patient: tolerance.mm for patient, tolerance in found.items()} == {"p0": 2.0, "p1": 2.0, "p2": 1.0}
    assert all((t.n_patients, t.n_pairs, t.quantile) == (2, 2, 0.95) for t in found.values())


def test_the_judged_patients_own_readers_change_nothing_for_it(study):
    wild = [*study[:2], case("p2", A=block(5), B=block(5, 6), M=block(5))]
    before, after = (reader_tolerances(cases, "x", ["A", "B"]) for cases in (study, wild))
    assert before["p2"] == after["p2"] and after["p0"].mm > before["p0"].mm


def test_patients_weigh_the_same_however_many_cases_they_have(study):
    many = [*study, *(case("p0", f"again{k}", A=block(5), B=block(5)) for k in range(4))]
    one, other = (reader_tolerances(cases, "x", ["A", "B"], quantile=0.6) for cases in (study, many))
    assert one["p2"].mm == other["p2"].mm and other["p2"].n_pairs == 6


def test_a_patient_without_two_readers_is_judged_by_all_the_others(study):
    found = reader_tolerances([*study, case("alone", A=block(5), M=block(5))], "x", ["A", "B"])
    assert (found["alone"].n_patients, found["alone"].mm) == (3, 2.0)


@pytest.mark.parametrize("quantile", [0.0, 1.0, 95, np.nan])
def test_a_quantile_is_a_share(study, quantile):
    with pytest.raises(UsageError, match="between 0 and 1"):
        reader_tolerances(study, "x", ["A", "B"], quantile=quantile)


def test_one_patient_has_nobody_to_be_judged_by(study):
    with pytest.raises(UsageError, match="at least 2"):
        reader_tolerances(study[:1], "x", ["A", "B"])


def test_distances_that_were_not_kept_are_asked_for(study):
    bare = [case(patient, keep_gaps=False, A=block(5), B=block(5), M=block(5)) for patient in "ab"]
    with pytest.raises(UsageError, match="keep_gaps"):
        reader_tolerances(bare, "x", ["A", "B"])
    with pytest.raises(UsageError, match="keep_gaps"):
        with_tolerances(bare, "x", {"a": 1.0, "b": 1.0})


def test_nsd_at_another_tolerance_is_that_of_scoring_anew(study):
    (changed,) = with_tolerances(study[2:], "x", {"p2": 0.5})
    for score in changed.of("x"):
        masks = {"A": block(5), "B": block(5, 2), "M": block(5)}
        assert score.values["nsd"] == nsd(masks[score.a], masks[score.b], ONE_MM, 0.5)
    assert study[2].scores[0].values["nsd"] == 1.0  # the given cases stay as they are


def test_a_missed_structure_stays_missed_at_any_tolerance():
    missed = case("p", A=block(5), B=block(4), M=np.zeros_like(block(5)))
    (changed,) = with_tolerances([missed], "x", {"p": 1000.0})
    assert [score.values["nsd"] for score in changed.of("x")] == [1.0, 0.0, 0.0]


# ---- curves


def test_a_curve_holds_nsd_at_every_tolerance_and_rises(study):
    curves = surface_curves(study, "x", ["A", "B"], "M")
    assert curves.human_human is not None and curves.model_human is not None
    for tolerance in (0.0, 1.0, 2.0):
        place = int(np.flatnonzero(tolerance == CURVE_MM)[0])
        by_hand = np.mean([nsd(block(5), block(5, k), ONE_MM, tolerance) for k in range(3)])
        assert curves.human_human[place] == pytest.approx(by_hand)
    assert (np.diff(curves.human_human) >= 0).all() and curves.human_human[-1] == 1.0
    assert (curves.n_cases, curves.n_patients) == (3, 3)


def test_a_missed_structure_is_far_at_every_tolerance_of_the_curve():
    missed = case("p", A=block(5), B=block(5), M=np.zeros_like(block(5)))
    curves = surface_curves([missed], "x", ["A", "B"], "M")
    assert curves.model_human is not None and not curves.model_human.any()


def test_readers_alone_have_a_curve_too(study):
    curves = surface_curves(study, "x", ["A", "B"], None)
    assert curves.model_human is None and curves.as_dict()["model_human"] is None and curves.n_cases == 3


def test_cases_that_nobody_marked_are_no_part_of_a_curve():
    empty = np.zeros_like(block(5))
    assert surface_curves([case("p", A=empty, B=empty, M=empty)], "x", ["A", "B"], "M").n_cases == 0


# ---- signed distances


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 0.5)])
def test_a_mask_grown_by_one_voxel_lies_outside_and_exchanging_turns_the_sign(spacing):
    small, large = block(5), block(6)
    value = signed_surface_distance(small, large, spacing)
    assert min(spacing) < value < np.linalg.norm(spacing)  # one voxel from face to face, its diagonal at the corners
    assert signed_surface_distance(large, small, spacing) == pytest.approx(-value)


def test_a_shift_is_no_difference_in_size():
    assert signed_surface_distance(block(5), block(5, 2), ONE_MM) == pytest.approx(0.0, abs=1e-12)


def test_slabs_have_the_signed_distance_of_their_faces():
    thin, thick = np.zeros((2, 300, 300, 12), dtype=bool)
    thin[:, :, 4:8], thick[:, :, 3:9] = True, True
    # both faces move by one voxel of 3 mm; the rim, where little moves, is less than a tenth of the area
    assert 2.7 < signed_surface_distance(thin, thick, (1.0, 1.0, 3.0)) < 3.0


def test_an_empty_mask_has_no_signed_distance():
    assert np.isnan(signed_surface_distance(block(5), np.zeros_like(block(5)), ONE_MM))


def test_a_model_one_millimetre_larger_than_all_readers_is_warned_about():
    cases = [case(f"p{k}", A=block(5), B=block(5, k % 4), C=block(5), M=block(6)) for k in range(8)]
    found = signed_bias(cases, "x", ["A", "B", "C"], "M", draws=200)
    assert found.readers_range == pytest.approx((0.0, 0.0), abs=1e-12)
    assert found.is_biased and found.is_certain and "larger" in found.warning and found.n_cases == 8
    assert found.per_reader["A"] == pytest.approx(signed_surface_distance(block(5), block(6), ONE_MM))


def test_a_model_within_the_readers_own_range_is_not_warned_about():
    cases = [case(f"p{k}", A=block(4), B=block(6), M=block(5)) for k in range(3)]
    found = signed_bias(cases, "x", ["A", "B"], "M", draws=200)
    assert found.readers["A"] == pytest.approx(-found.readers["B"]) and found.readers["B"] > 1.0
    assert not found.is_biased and found.warning == ""


def test_the_order_of_a_pair_does_not_turn_the_sign():
    cases = [case(f"p{k}", M=block(6), A=block(5), B=block(5)) for k in range(3)]  # here the model is named first
    assert signed_bias(cases, "x", ["A", "B"], "M", draws=200).model.mean > 0


def test_one_reader_alone_has_no_range_to_be_outside_of():
    found = signed_bias([case("p", A=block(5), M=block(6))], "x", ["A"], "M", draws=200)
    assert found.readers_range is None and not found.is_biased and found.as_dict()["n"] == 1
