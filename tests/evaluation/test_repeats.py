"""Readers who read again: their agreement with themselves."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import UsageError
from medseg.evaluation.entries import Protocol
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.repeats import intra_reader
from medseg.evaluation.scoring import PairScore

REPEATS = {"A": ["A", "A2", "A3"], "B": ["B", "B2"], "C": ["C"]}
PLAN = Protocol(draws=200)


def case(number: int, volumes: tuple[float, float] = (1.0, 1.0), **pairs: float) -> CaseScores:
    scores = [
        PairScore("x", *name.split("_"), dict.fromkeys(METRICS, value), *volumes) for name, value in pairs.items()
    ]
    return CaseScores(f"c{number}", f"p{number}", scores, 100.0)


def test_only_pairs_of_the_same_reader_count():
    found = intra_reader([case(0, A_A2=0.9, A_B=0.1, B_B2=0.7, C_A=0.2)], "x", "dice", REPEATS, PLAN)
    assert found.pooled.mean == pytest.approx(0.8) and (found.n_cases, found.n_pairs) == (1, 2)
    assert {reader: each.mean for reader, each in found.per_reader.items()} == {"A": 0.9, "B": 0.7}


def test_a_case_is_the_mean_of_its_pairs_whatever_their_number():
    cases = [case(0, A_A2=0.9, A_A3=0.9, A2_A3=0.6), case(1, A_A2=0.6)]
    assert intra_reader(cases, "x", "dice", REPEATS, PLAN).pooled.mean == pytest.approx((0.8 + 0.6) / 2)


def test_a_distance_needs_a_structure_in_both_readings():
    found = intra_reader([case(0, (1.0, 0.0), A_A2=np.inf), case(1, A_A2=2.0)], "x", "hd95", REPEATS, PLAN)
    assert found.pooled.mean == 2.0 and found.n_cases == 2


def test_a_reading_that_is_missing_takes_no_part():
    found = intra_reader([case(0, (1.0, np.nan), A_A2=np.nan, A_B=np.nan)], "x", "dice", REPEATS, PLAN)
    assert found.n_pairs == 0 and np.isnan(found.pooled.mean)


def test_a_case_that_nobody_marked_takes_no_part():
    empty = case(0, (0.0, 0.0), A_A2=np.nan)
    assert intra_reader([empty, case(1, A_A2=0.5)], "x", "dice", REPEATS, PLAN).n_cases == 1


def test_without_repeats_there_is_no_band():
    found = intra_reader([case(0, A_B=0.9)], "x", "dice", {"A": ["A"], "B": ["B"]}, PLAN)
    assert np.isnan(found.pooled.mean) and found.per_reader == {}


def test_a_reading_of_two_readers_and_a_metric_with_a_direction_are_refused():
    with pytest.raises(UsageError, match="two readers"):
        intra_reader([], "x", "dice", {"A": ["A", "B"], "B": ["B"]}, PLAN)
    with pytest.raises(UsageError, match="agreement"):
        intra_reader([], "x", "precision", REPEATS, PLAN)
