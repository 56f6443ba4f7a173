import numpy as np
import pytest

from medseg.evaluation.dose_response import Key, Line, Sampling, build_responses, compare, curves, main_reference
from medseg.evaluation.dose_response_scores import ALL, EXPERTS, TRUTH, UNTRANSFORMED
from medseg.evaluation.statistics import mean_interval

FEW = Sampling(draws=500)


def line(case, dose, dice, label="liver", reference=TRUTH, patient=None, transform="blur"):
    return Line(case, patient or case, transform, dose, label, reference, dice)


def column(lines, key, raters=()):
    return build_responses(lines, raters).column(key).tolist()


def test_cases_of_one_patient_are_averaged_first():
    lines = [line("c1", 0, 0.5, patient="p"), line("c2", 0, 0.7, patient="p"), line("c3", 0, 0.9)]
    assert column(lines, Key("blur", 0, "liver", TRUTH)) == pytest.approx([0.6, 0.9])


def test_experts_are_the_mean_over_those_who_read_the_case():
    lines = [line("c1", 0, 0.4, reference="A"), line("c1", 0, 0.8, reference="B"), line("c2", 0, 0.9, reference="B")]
    assert column(lines, Key("blur", 0, "liver", EXPERTS), ("A", "B")) == pytest.approx([0.6, 0.9])


def test_all_structures_is_the_mean_over_those_that_count():
    lines = [line("c1", 0, 0.4), line("c1", 0, 0.8, label="spleen"), line("c1", 0, None, label="lesion")]
    assert column(lines, Key("blur", 0, ALL, TRUTH)) == pytest.approx([0.6])


def test_a_patient_without_a_score_is_nan():
    lines = [line("c1", 0, 0.4), line("c2", 0, None)]
    np.testing.assert_equal(column(lines, Key("blur", 0, "liver", TRUTH)), [0.4, np.nan])


def test_a_point_holds_mean_interval_drop_and_counts():
    rng = np.random.default_rng(0)
    before, after = rng.uniform(0.8, 1, 12), rng.uniform(0.4, 0.8, 12)
    lines = [line(f"c{k}", dose, values[k]) for dose, values in ((0, before), (2, after)) for k in range(12)]
    found = curves(build_responses(lines, ()), {"blur": (0, 2)}, {"blur": 0}, FEW)["blur"]["liver"][TRUTH]
    assert [point["dose"] for point in found] == [0, 2]
    assert found[1]["mean"] == pytest.approx(after.mean())
    assert found[1]["ci95"] == pytest.approx(mean_interval(after, draws=500, bounds=(0, 1)).ci95)
    assert found[1]["drop"]["mean"] == pytest.approx((before - after).mean())
    assert (found[1]["n"], found[1]["n_patients"]) == (12, 12)


def test_the_drop_counts_patients_with_both_doses_only():
    lines = [line("c1", 0, 0.9), line("c1", 2, 0.5), line("c2", 2, 0.1)]
    point = curves(build_responses(lines, ()), {"blur": (0, 2)}, {"blur": 0}, FEW)["blur"]["liver"][TRUTH][1]
    assert point["drop"]["mean"] == pytest.approx(0.4)
    assert point["n_patients"] == 2


def test_one_patient_has_no_interval_and_says_why():
    point = curves(build_responses([line("c1", 0, 0.9)], ()), {"blur": (0,)}, {"blur": 0}, FEW)["blur"][ALL][TRUTH][0]
    assert point["ci95"] is None
    assert point["no_interval"] == "fewer than two patients"


def test_the_equivariance_error_is_1_minus_dice():
    lines = [line("c1", 2, 0.7, reference=UNTRANSFORMED)]
    found = curves(build_responses(lines, ()), {"blur": (0, 2)}, {"blur": 0}, FEW)
    assert found["blur"]["liver"][UNTRANSFORMED][0]["equivariance_error"] == pytest.approx(0.3)


def two_models():
    rng = np.random.default_rng(1)
    base = rng.uniform(0.5, 0.7, 10)
    ours = [line(f"c{k}", dose, base[k] + 0.2 - 0.01 * dose) for dose in (0, 2, 4) for k in range(10)]
    theirs = [line(f"c{k}", dose, base[k] - 0.05 * dose) for dose in (0, 2, 4) for k in (*range(5, 10), *range(5))]
    return build_responses(ours, ()), build_responses(theirs, ())


def test_models_are_compared_patient_by_patient_whatever_their_order():
    found = compare(*two_models(), Key("blur", 0, "liver", TRUTH), (0, 2, 4), FEW)
    assert [point["difference"] for point in found["doses"]] == pytest.approx([0.2, 0.28, 0.36])
    assert found["doses"][1]["no_interval"] == "all values equal"  # a constant difference: pairing removed the patients


def test_the_mean_over_doses_leaves_the_identity_out_and_the_drop_has_its_sign():
    found = compare(*two_models(), Key("blur", 0, "liver", TRUTH), (0, 2, 4), FEW)
    assert found["mean_over_doses"]["difference"] == pytest.approx(0.32)
    assert found["mean_drop"]["ours"] == pytest.approx(0.03)
    assert found["mean_drop"]["theirs"] == pytest.approx(0.15)
    assert found["mean_drop"]["n_patients"] == 10


def test_a_patient_of_one_model_only_is_left_out():
    ours = build_responses([line("c1", 0, 0.5), line("c2", 0, 0.9)], ())
    theirs = build_responses([line("c2", 0, 0.8), line("c3", 0, 0.1)], ())
    point = compare(ours, theirs, Key("blur", 0, "liver", TRUTH), (0,), FEW)["doses"][0]
    assert (point["difference"], point["n_patients"]) == (pytest.approx(0.1), 1)


@pytest.mark.parametrize(("names", "main"), [
    ((UNTRANSFORMED, EXPERTS, TRUTH), TRUTH), ((UNTRANSFORMED, EXPERTS), EXPERTS), ((UNTRANSFORMED,), UNTRANSFORMED),
])  # fmt: skip
def test_accuracy_is_measured_against_truth_then_experts_then_nothing_else(names, main):
    assert main_reference(names) == main
