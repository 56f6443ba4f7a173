"""The matrix of all pairs with its n."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from medseg.errors import UsageError
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.pairwise import pairwise_matrix
from medseg.evaluation.scoring import PairScore

NAN = float("nan")


def case(number: int, value: float, patient: str = "", **volumes: float) -> CaseScores:
    def score(a: str, b: str) -> PairScore:
        missing = np.isnan(volumes[a]) or np.isnan(volumes[b])
        return PairScore("x", a, b, dict.fromkeys(METRICS, NAN if missing else value), volumes[a], volumes[b])

    scores = [score(a, b) for a, b in combinations(volumes, 2)]
    return CaseScores(f"c{number}", patient or f"p{number}", scores, 50.0)


def test_each_pair_has_its_mean_and_its_n():
    cases = [case(0, 0.9, A=1.0, B=1.0, M=1.0), case(1, 0.5, A=1.0, B=1.0, M=NAN)]
    found = pairwise_matrix(cases, "x", "dice", "AB", "M")
    assert found.names == ("A", "B", "M") and found.mean[0, 1] == found.mean[1, 0] == pytest.approx(0.7)
    assert found.mean[0, 2] == 0.9 and (found.cases[0, 1], found.cases[0, 2]) == (2, 1)
    assert np.isnan(np.diag(found.mean)).all() and found.cases[0, 0] == 0


def test_patients_weigh_the_same_however_many_cases_they_have():
    cases = [case(n, 0.9, "p", A=1.0, B=1.0) for n in range(3)] + [case(3, 0.5, "q", A=1.0, B=1.0)]
    found = pairwise_matrix(cases, "x", "dice", "AB")
    assert found.mean[0, 1] == pytest.approx(0.7) and (found.cases[0, 1], found.patients[0, 1]) == (4, 2)


def test_an_infinite_distance_is_the_image_diagonal():
    found = pairwise_matrix([case(0, np.inf, A=1.0, B=0.0)], "x", "hd95", "AB")
    assert found.mean[0, 1] == 50.0


def test_a_case_that_nobody_marked_is_left_out():
    found = pairwise_matrix([case(0, 1.0, A=0.0, B=0.0)], "x", "dice", "AB")
    assert np.isnan(found.mean[0, 1]) and found.cases[0, 1] == 0


def test_others_who_were_scored_do_not_enter():
    found = pairwise_matrix([case(0, 0.8, A=1.0, B=1.0, truth=1.0)], "x", "dice", "AB")
    assert found.as_dict()["names"] == ["A", "B"] and found.as_dict()["n"] == [[0, 1], [1, 0]]


def test_a_metric_with_a_direction_is_refused():
    with pytest.raises(UsageError, match="matrix"):
        pairwise_matrix([], "x", "sensitivity", "AB")
