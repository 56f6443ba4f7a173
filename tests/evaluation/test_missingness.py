"""The design table: who read, who marked, who did not look."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from medseg.evaluation.metrics import METRICS
from medseg.evaluation.missingness import Column, ReadCase, label_design, read_case, read_case_of_scores
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.scoring import PairScore
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet

WORDS = {"1": "present", "0": "absent"}


def cases(*marks: str) -> list[ReadCase]:
    """`marks` says for A, B and the model: 1 marked, 0 not, - did not read."""
    return [
        ReadCase(
            f"c{number}",
            f"p{number // 2}",
            {"x": {n: WORDS[m] for n, m in zip("ABM", mark, strict=True) if m in WORDS}},
        )
        for number, mark in enumerate(marks)
    ]


def test_missing_is_neither_present_nor_absent():
    found = label_design(cases("11-", "0-1", "101"), "x", "AB", "M")
    assert found.matrix[0] == ("present", "present", "missing")
    assert found.columns == {"A": Column(2, 1, 0, 0), "B": Column(1, 1, 1, 0), "M": Column(2, 0, 1, 0)}
    assert found.columns["B"].read == 2


def test_cases_are_counted_by_how_many_readers_read_them():
    found = label_design(cases("11-", "0-1", "--1", "001"), "x", "AB", "M")
    assert found.readers_per_case == {0: 1, 1: 1, 2: 2} and found.complete == 2
    assert found.pairs == {("A", "B"): 2} and found.n_patients == 2


def test_a_structure_that_nobody_looked_for_is_missing_everywhere():
    found = label_design(cases("111"), "y", "AB")
    assert found.matrix == (("missing", "missing"),) and found.complete == 0


def test_statuses_come_from_the_readings():
    labels = LabelSet({"background": 0, "liver": 1, "spleen": 2})
    grid = Geometry((4, 4, 4), np.eye(4))
    marked, empty = np.zeros((2, 4, 4, 4), dtype=np.int16)
    marked[1, 1, 1] = 1
    readings = {
        "A": LabelMap(marked, grid, labels),
        "B": LabelMap(empty, grid, labels, labelled=("liver",), slices_read=(0, 2)),
    }
    found = read_case("c", "p", readings, labels.foreground)
    assert found.statuses == {"liver": {"A": "present", "B": "absent"}, "spleen": {"A": "absent"}}
    column = label_design([found], "liver", "AB").columns["B"]
    assert (column.absent, column.partly) == (1, 1)
    assert label_design([found], "spleen", "AB").columns["B"] == Column(0, 0, 1, 0)


def test_statuses_come_from_pairs_where_readings_are_gone():
    volumes = {"A": 1.0, "B": 0.0, "M": float("nan")}
    values = dict.fromkeys(METRICS, 0.0)
    scores = [PairScore("x", a, b, values, volumes[a], volumes[b]) for a, b in combinations("ABM", 2)]
    found = read_case_of_scores(CaseScores("c", "p", scores, 1.0), ["x"], "ABM")
    assert found.statuses == {"x": {"A": "present", "B": "absent"}}


def test_no_case_makes_an_empty_table():
    found = label_design([], "x", "AB")
    assert found.matrix == () and found.columns["A"] == Column(0, 0, 0, 0) and found.readers_per_case[2] == 0
