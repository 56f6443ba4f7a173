"""Reliability of volumes from scored cases: who enters, and coefficients of variation."""

from __future__ import annotations

import csv
from itertools import combinations

import numpy as np
import pytest

from medseg.evaluation.metrics import METRICS
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.scoring import PairScore
from medseg.evaluation.volume_reliability import marked_volumes, reading_variation, volume_reliability

NAN = float("nan")


def case(number: int, **volumes: float) -> CaseScores:
    values = dict.fromkeys(METRICS, 0.5)
    scores = [PairScore("x", a, b, values, volumes[a], volumes[b]) for a, b in combinations(volumes, 2)]
    return CaseScores(f"c{number}", f"p{number}", scores, 100.0)


def many(seed: int, cases: int, spread: float) -> list[CaseScores]:
    rng = np.random.default_rng(seed)
    size = rng.normal(0, 1, size=(cases, 1))
    volumes = np.exp(size + spread * rng.normal(size=(cases, 3))).tolist()
    return [case(n, **dict(zip("ABC", row, strict=True))) for n, row in enumerate(volumes)]


def test_the_variation_between_readers_is_the_one_that_was_put_in():
    found = volume_reliability(many(0, 400, 0.1), "x", "ABC", draws=300)
    low, high = found.between_readers.ci95
    assert low < np.sqrt(np.expm1(0.01)) < high and found.between_readers.n_cases == 400
    assert found.icc.forms["icc11"].value == pytest.approx(1 / 1.01, abs=0.004)


def test_a_reader_who_found_nothing_leaves_the_full_table_and_stays_in_the_mixed_model():
    cases = [*many(1, 10, 0.2), case(10, A=1.0, B=1.1, C=0.0), case(11, A=2.0, B=NAN, C=2.2)]
    found = volume_reliability(cases, "x", "ABC", draws=200)
    assert (found.icc.n_cases, found.icc.left_out) == (10, 2)
    assert (found.mixed.n_cases, found.mixed.n_readings) == (12, 34)


def test_volumes_cut_to_common_slices_are_not_compared():
    values = dict.fromkeys(METRICS, 0.5)
    scores = [PairScore("x", "A", "B", values, 1.0, 1.0), PairScore("x", "A", "C", values, 3.0, 3.0)]
    cut = CaseScores("c", "p", scores, 100.0)
    assert marked_volumes(cut, "x") is None
    assert volume_reliability([cut, *many(2, 5, 0.1)], "x", "ABC", draws=200).partly_read == 1


def test_repeated_readings_give_the_variation_within_a_reader():
    cases = [case(n, A=1.0, A2=1.1, B=2.0) for n in range(5)]
    found = volume_reliability(cases, "x", "AB", repeats={"A": ["A", "A2"], "B": ["B"]}, draws=200)
    expected = np.sqrt(np.expm1(np.log(1.1) ** 2 / 2))
    assert found.within_reader.value == pytest.approx(expected)
    assert found.within_reader.n_cases == 5 and found.within_reader.ci95 is None  # all differ by as much


def test_equal_readings_do_not_vary_and_nothing_read_twice_is_undefined():
    assert reading_variation([("c", "p", [2.0, 2.0]), ("d", "q", [3.0, 3.0])]).value == 0.0
    none = reading_variation([("c", "p", [2.0])])
    assert np.isnan(none.value) and none.n_cases == 0


def test_anonymous_readers_have_no_systematic_differences():
    found = volume_reliability(many(3, 20, 0.2), "x", "ABC", anonymous=True, draws=200)
    assert found.mixed.reader == 0.0 and found.mixed.consistency is None
    assert found.mixed.agreement == pytest.approx(found.icc.forms["icc11"].value, abs=1e-6)


def test_no_case_has_no_reliability():
    found = volume_reliability([], "x", "ABC")
    assert found.icc is None and found.mixed is None and np.isnan(found.between_readers.value)


def test_sixty_nodules_give_the_same_correlation_by_mean_squares_and_by_likelihood(shared_data):
    with (shared_data / "lidc_nodules.csv").open(newline="") as file:
        rows = [{name: float(row[f"vol{name}_mm3"]) / 1000 for name in "1234"} for row in csv.DictReader(file)]
    cases = [case(n, **row) for n, row in enumerate(rows)]
    found = volume_reliability(cases, "x", "1234", anonymous=True, draws=500)
    assert found.icc.n_cases == 60 and found.icc.left_out == 0
    assert found.mixed.agreement == pytest.approx(found.icc.forms["icc11"].value, abs=1e-6)
    assert found.mixed.agreement_ci95 == pytest.approx(found.icc.forms["icc11"].ci95, abs=0.005)
    assert found.between_readers.ci95[0] < 0.18 < found.between_readers.ci95[1]


def test_an_interval_that_no_number_can_hold_is_none():
    """Six patients whose variation is one patient's: exp of a variance of 1,187 is no number."""
    volumes = [[1.0, 1.0 + float(more)] for more in np.random.default_rng(1).exponential(0.2, 6)]
    found = reading_variation([(f"c{k}", f"p{k}", pair) for k, pair in enumerate(volumes)], draws=300)
    assert found.ci95 is None and found.n_patients == 6 and found.value == pytest.approx(0.24, abs=0.01)
