"""Model and readers against a known truth, and whether the verdict from agreement was right."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import UsageError
from medseg.evaluation.degrade import dilate
from medseg.evaluation.entries import TRUTH, Protocol
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.scoring import PairScore, score_masks
from medseg.evaluation.statistics import Interval
from medseg.evaluation.truth import TruthComparison, truth_case, truth_comparison, truth_presence, was_right
from medseg.evaluation.verdict import CLASSES

PLAN = Protocol(draws=300)
MEAN = Interval(0.9, (0.88, 0.92), "bca", 0.1, 60)


def case(number: int, truth_ml: float = 1.0, **dice: float | None) -> CaseScores:
    """Scores against the truth; None did not read, 0 marked nothing."""
    nan = float("nan")
    scores = []
    for name, value in dice.items():
        volume = nan if value is None else float(value > 0)
        values = dict.fromkeys(METRICS, nan if value is None else value)
        scores.append(PairScore("x", TRUTH, name, values, nan if value is None else truth_ml, volume))
    return CaseScores(f"c{number}", f"p{number}", scores, 100.0)


def compared(difference: Interval) -> TruthComparison:
    return TruthComparison("x", "dice", MEAN, MEAN, difference, {}, 60, 0, ())


def interval(low: float, high: float, n: int = 60) -> Interval:
    return Interval((low + high) / 2, (low, high), "bca", 0.1, n)


def test_the_difference_is_paired_in_each_case():
    row = truth_case(case(0, A=0.8, B=0.9, M=0.95), "x", "dice", "AB", "M")
    assert (row.model, row.reader_mean, row.difference) == pytest.approx((0.95, 0.85, 0.10))


def test_a_smaller_distance_is_nearer_to_the_truth():
    assert truth_case(case(0, A=3.0, M=1.0), "x", "hd95", "A", "M").difference == 2.0


def test_a_distance_enters_only_where_everybody_marked():
    assert np.isnan(truth_case(case(0, A=3.0, B=0.0, M=1.0), "x", "hd95", "AB", "M").difference)
    assert truth_case(case(0, A=0.8, B=0.0, M=0.8), "x", "dice", "AB", "M").difference == pytest.approx(0.4)


def test_a_reader_who_did_not_read_is_missing():
    row = truth_case(case(0, A=0.8, B=None, M=0.9), "x", "dice", "AB", "M")
    assert row.difference == pytest.approx(0.1) and "B" not in row.readers
    found = truth_comparison(
        [case(0, A=None, B=None, M=0.9), case(1, A=0.8, B=0.7, M=0.9)], "x", "dice", "AB", "M", PLAN
    )
    assert (found.n_cases, found.left_out) == (1, 1)


def test_each_reader_has_a_difference_of_its_own_unless_anonymous():
    cases = [case(n, A=0.8, B=0.9 - 0.01 * (n % 3), M=0.85) for n in range(25)]
    found = truth_comparison(cases, "x", "dice", "AB", "M", PLAN)
    assert found.per_reader["A"].mean == pytest.approx(0.05) and found.per_reader["B"].mean < 0
    assert truth_comparison(cases, "x", "dice", "AB", "M", PLAN, anonymous=True).per_reader == {}


def test_a_model_that_draws_larger_than_the_readers_is_farther_from_the_truth():
    rng = np.random.default_rng(0)
    cases = []
    for number in range(22):
        truth = np.zeros((24, 24, 24), dtype=bool)
        low = 8 + rng.integers(0, 3, size=3)
        truth[low[0] : 16, low[1] : 16, low[2] : 16] = True
        wide = dilate(truth, (1.0, 1.0, 1.0), 2.0)
        masks = {
            TRUTH: truth,
            "A": dilate(truth, (1.0, 1.0, 1.0), 1.0),
            "B": dilate(truth, (1.0, 1.0, 1.0), 1.0),
            "M": wide,
        }
        cases.append(CaseScores(f"c{number}", f"p{number}", score_masks(masks, (1.0, 1.0, 1.0), label="x"), 42.0))
    found = truth_comparison(cases, "x", "dice", "AB", "M", PLAN)
    check = was_right("equivalent", found, 0.05)
    assert found.difference.ci95[1] < -0.05 and check.answer == "wrong"
    assert check.sentence.startswith("The verdict 'equivalent' was wrong: the model was farther from the truth")


@pytest.mark.parametrize(
    ("verdict", "low", "high", "answer"),
    [
        ("equivalent", -0.02, 0.02, "right"),
        ("non-inferior", 0.10, 0.20, "right"),
        ("equivalent", -0.20, -0.10, "wrong"),
        ("equivalent", -0.10, 0.01, "open"),
        ("inferior", -0.20, -0.10, "right"),
        ("inferior", -0.02, 0.02, "wrong"),
        ("inferior", -0.10, 0.01, "open"),
        ("inconclusive", -0.02, 0.02, "no claim"),
        ("descriptive", -0.20, -0.10, "no claim"),
    ],
)
def test_the_answer_follows_from_the_truths_interval_and_the_margin(verdict, low, high, answer):
    assert was_right(verdict, compared(interval(low, high)), 0.05).answer == answer


def test_few_patients_or_no_margin_leave_it_open_and_say_why():
    few = was_right("equivalent", compared(interval(-0.01, 0.01, n=8)), 0.05)
    assert few.answer == "open" and "8 patients" in few.sentence
    assert "no margin was given" in was_right("equivalent", compared(interval(-0.01, 0.01)), None).sentence


@pytest.mark.parametrize("verdict", CLASSES)
def test_no_sentence_calls_a_model_superior(verdict):
    text = was_right(verdict, compared(interval(0.10, 0.20)), 0.05).sentence
    assert "superior" not in text and "better" not in text and "at least as close to the truth" in text


def test_the_sentence_has_its_numbers():
    text = was_right("equivalent", compared(interval(-0.02, 0.04)), 0.05).sentence
    assert "Dice against the truth 0.900 vs 0.900, difference +0.010, 95 % CI -0.020 to 0.040, margin -0.050" in text


def test_misses_and_false_positives_are_counted_against_the_truth():
    cases = [case(0, A=0.8, M=0.0), case(1, 0.0, A=0.0, M=0.5), case(2, A=None, M=0.9)]
    table = truth_presence(cases, "x", "AM")
    assert table["M"] == {"read": 3, "present": 2, "missed": 1, "absent": 1, "false_positives": 1}
    assert table["A"] == {"read": 2, "present": 1, "missed": 0, "absent": 1, "false_positives": 0}


def test_without_a_truth_there_is_nothing_to_compare():
    assert truth_comparison([], "x", "dice", "AB", "M", PLAN) is None


def test_a_metric_that_has_a_direction_is_refused():
    with pytest.raises(UsageError, match="nearness"):
        truth_comparison([], "x", "sensitivity", "AB", "M", PLAN)
