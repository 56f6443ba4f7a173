"""The alternative annotator test against the published procedure, and where that cannot be followed."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.alternative_annotator import (
    alternative_annotator_test,
    compare_left_out,
    left_out_scores,
    null_control,
)
from medseg.evaluation.pair_table import PairTable


def table(patients: int, model_error: float, seed: int = 0, readers: int = 4) -> PairTable:
    """Readers who differ by chance; the pair score falls with the distance of their readings."""
    rng = np.random.default_rng(seed)
    readings = rng.normal(size=(patients, readers))
    model = readings.mean(axis=1) if not model_error else rng.normal(scale=model_error, size=patients)
    human = -np.abs(readings[:, :, None] - readings[:, None, :])
    human[:, range(readers), range(readers)] = np.nan
    scores = -np.abs(readings - model[:, None])
    names = tuple("ABCDEFG"[:readers])
    return PairTable(names, tuple(f"p{k}" for k in range(patients)), scores, human, np.ones(patients, dtype=bool))


@pytest.fixture
def published(golden):
    """Scores of the published example: minus the root mean square distance to the two other annotators."""
    readings = np.array(golden["statistics"]["alttest_input"])

    def score(column, others):
        return -np.sqrt(np.mean((readings[:, [column]] - readings[:, others]) ** 2, axis=1))

    left = {j: [k for k in range(3) if k != j] for j in range(3)}
    return {str(j): (score(j, others), score(3, others)) for j, others in left.items()}


@pytest.mark.parametrize("place", range(4))
def test_the_published_example_is_reproduced(golden, published, place):
    expected = golden["statistics"]["alttest"][place]
    found = compare_left_out(published, epsilon=expected["eps"])
    assert [reader.p for reader in found.readers] == pytest.approx(expected["p"], rel=1e-9)
    assert [reader.advantage for reader in found.readers] == pytest.approx(expected["rho_model"])
    assert (found.winning_rate, found.advantage_probability) == (expected["winning_rate"], expected["avg_advantage"])
    assert [place for place, reader in enumerate(found.readers) if reader.beaten] == expected["rejected"]


def test_benjamini_yekutieli_keeps_what_the_worked_example_keeps(golden):
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    found = compare_left_out({str(k): (np.zeros(40), np.linspace(-1, 1 + k / 2, 40)) for k in range(3)})
    p = [reader.p for reader in found.readers]
    assert [reader.adjusted for reader in found.readers] == pytest.approx(multipletests(p, method="fdr_by")[1])


def test_a_model_that_always_agrees_better_wins_with_eight_patients():
    found = alternative_annotator_test(table(8, model_error=0))
    assert found.passed and found.n == 8 and found.winning_rate == 1.0


def test_two_patients_that_fall_the_same_way_prove_nothing():
    own, model = np.array([0.5, 0.6]), np.array([0.9, 0.9])
    found = compare_left_out({"A": (own, model)}, epsilon=0.2)
    assert found.readers[0].p == pytest.approx(0.4**2) and not found.passed


def test_ties_in_every_patient_count_for_the_model_but_less_than_wins():
    same = np.full(10, 0.8)
    found = compare_left_out({"A": (same, same)}, epsilon=0.2)
    assert found.advantage_probability == 1.0
    assert found.readers[0].p == pytest.approx(0.8**10)


def test_a_model_that_always_loses_has_a_p_of_one():
    found = compare_left_out({"A": (np.full(12, 0.9), np.full(12, 0.2))})
    assert found.readers[0].p == 1.0 and found.winning_rate == 0.0 and found.passed is False


def test_a_poor_model_fails():
    found = alternative_annotator_test(table(60, model_error=5))
    assert found.winning_rate == 0.0 and found.advantage_probability < 0.3


def test_anonymous_readers_switch_the_test_off():
    found = alternative_annotator_test(table(60, 1), anonymous=True)
    assert found.passed is None and np.isnan(found.winning_rate) and "anonymous" in found.reason
    assert null_control(table(60, 1), anonymous=True).reason == found.reason


def test_one_reader_leaves_nobody_to_compare_with():
    found = alternative_annotator_test(table(60, 1, readers=1))
    assert found.passed is None and "2 readers are needed" in found.reason


def test_cases_of_one_patient_are_one_patient():
    many = table(30, 1)
    twice = PairTable(many.raters, tuple("pq"[k % 2] for k in range(30)), many.model, many.human, many.marked)
    assert alternative_annotator_test(twice).n == 2


def test_the_reader_and_the_model_meet_the_same_remaining_readers():
    whole = table(10, 1, readers=3)
    whole.model[4, 1] = np.nan  # the model has no pair with B in this case
    own, model = left_out_scores(whole)["A"]
    assert own[4] == whole.human[4, 0, 2] and model[4] == whole.model[4, 2]


def test_a_reader_who_did_not_read_is_left_out_of_that_patient():
    whole = table(10, 1, readers=3)
    for other in range(3):
        whole.human[3, 0, other] = whole.human[3, other, 0] = np.nan
    whole.model[3, 0] = np.nan
    found = {reader.rater: reader.n for reader in alternative_annotator_test(whole).readers}
    assert found == {"A": 9, "B": 10, "C": 10}


def test_every_reader_plays_the_model_once():
    control = null_control(table(40, 1), draws=50)
    assert list(control.tests) == list("ABCD") and control.draws == 50
    assert {reader.rater for reader in control.tests["B"].readers} == set("ACD")
    assert control.passed == sum(bool(test.passed) for test in control.tests.values())


def test_real_readers_pass_more_often_with_more_patients():
    """As on real readers: at epsilon 0.2 an interchangeable reader passes seldom with 30 cases, mostly with 300."""
    few, many = (null_control(table(n, 1, seed=3), draws=200).mean_pass_rate for n in (30, 300))
    assert few < 0.6 < 0.8 < many


def test_the_pass_rate_of_two_readers_is_off():
    control = null_control(table(20, 1, readers=2))
    assert control.tests == {} and np.isnan(control.mean_pass_rate) and "3 readers" in control.reason


def test_scores_with_the_remaining_readers_are_means_of_pairs():
    whole = table(5, 1, readers=4)
    own, model = left_out_scores(whole)["B"]
    pairs = [whole.human[:, 1, k] for k in (0, 2, 3)]
    assert own == pytest.approx(np.mean(pairs, axis=0))
    assert model == pytest.approx(whole.model[:, [0, 2, 3]].mean(axis=1))
