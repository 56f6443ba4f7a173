"""Misses and false positives, counted against left-out readers."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from medseg.evaluation.metrics import METRICS
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.presence import FALSE_POSITIVE, MISSED, presence, reader_presence
from medseg.evaluation.scoring import PairScore

NAMES = "ABCM"


def case(number: int, marks: str) -> CaseScores:
    """`marks` says for A, B, C and the model: 1 marked, 0 not, - did not read."""
    volumes = {name: {"1": 1.0, "0": 0.0, "-": np.nan}[mark] for name, mark in zip(NAMES, marks, strict=True)}
    values = dict.fromkeys(METRICS, 0.5)
    scores = [PairScore("x", a, b, values, volumes[a], volumes[b]) for a, b in combinations(NAMES, 2)]
    return CaseScores(f"c{number}", f"p{number}", scores, 100.0)


def cases(*marks: str) -> list[CaseScores]:
    return [case(number, mark) for number, mark in enumerate(marks)]


def test_a_finding_needs_two_readers_and_a_miss_is_counted():
    found = presence(cases("1111", "1110", "1100", "1000", "0000"), "x", "ABC", "M")
    assert (found.findings, found.missed, found.absent, found.false_positives) == (3, 2, 1, 0)


def test_a_mark_where_no_reader_saw_anything_is_a_false_positive():
    found = presence(cases("0001", "0000", "1111"), "x", "ABC", "M")
    assert (found.absent, found.false_positives) == (2, 1)


def test_a_reader_who_did_not_read_has_no_vote():
    found = presence(cases("1-11", "--11", "0-01"), "x", "ABC", "M")
    assert (found.findings, found.absent, found.false_positives) == (1, 1, 1)
    assert presence(cases("---1"), "x", "ABC", "M").absent == 0


def test_no_miss_in_twenty_cases_still_allows_seventeen_percent():
    guard = presence(cases(*["1111"] * 20), "x", "ABC", "M", draws=200).guards[MISSED]
    assert (guard.model, guard.readers, guard.patients) == (0.0, 0.0, 20)
    assert guard.upper == pytest.approx(0.168, abs=1e-3)
    assert guard.exceeds(0.10) and not guard.exceeds(0.17)


def test_sixty_cases_without_a_miss_pass_the_guard():
    assert not presence(cases(*["1111"] * 60), "x", "ABC", "M", draws=200).guards[MISSED].exceeds(0.10)


def test_a_model_that_misses_a_third_fails_the_guard():
    guard = presence(cases(*["1111", "1111", "1110"] * 20), "x", "ABC", "M", draws=500).guards[MISSED]
    assert guard.model == pytest.approx(1 / 3) and guard.readers == 0.0
    assert guard.upper > 1 / 3


def test_without_an_absent_case_false_positives_cannot_be_judged():
    guard = presence(cases(*["1111"] * 5), "x", "ABC", "M", draws=200).guards[FALSE_POSITIVE]
    assert np.isnan(guard.model) and guard.patients == 0 and not guard.exceeds(0.0)


def test_a_model_like_a_reader_has_no_worse_rate():
    guard = presence(cases(*["1101", "1011", "0111", "1110"] * 15), "x", "ABC", "M", draws=500).guards[MISSED]
    assert guard.model == pytest.approx(guard.readers)
    assert guard.difference_ci95 is not None and guard.difference_ci95[0] <= 0 <= guard.difference_ci95[1]


def test_readers_are_held_against_each_other():
    table = reader_presence(cases("1110", "1100", "10-0"), "x", "ABC")
    assert table["C"] == {"read": 2, "marked": 1, "missed": 1, "false_positives": 0}
    assert table["A"] == {"read": 3, "marked": 3, "missed": 0, "false_positives": 1}
