"""Pairs as arrays: the same D as case by case, gaps kept, readers in the model's place."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from medseg.evaluation.metrics import METRICS
from medseg.evaluation.pair_table import pair_table, row_means
from medseg.evaluation.paired import CaseScores, case_agreement
from medseg.evaluation.scoring import PairScore, score_masks


def boxes(sizes: dict[str, int], case: str = "c", patient: str = "p") -> CaseScores:
    """Cubes of the given edges in one corner; 0 marks nothing, -1 was not read."""
    masks = {}
    for name, size in sizes.items():
        if size >= 0:
            masks[name] = np.zeros((8, 8, 8), dtype=bool)
            masks[name][:size, :size, :size] = True
    pairs = list(combinations(sizes, 2))
    return CaseScores(case, patient, score_masks(masks, (1.0, 1.0, 2.0), pairs=pairs, label="x"), 20.0)


CASES = [
    boxes({"A": 4, "B": 5, "C": 4, "M": 6}, "1"),
    boxes({"A": 4, "B": 0, "C": 3, "M": 4}, "2"),
    boxes({"A": 4, "B": -1, "C": 5, "M": 4}, "3"),
    boxes({"A": 0, "B": 0, "C": 0, "M": 3}, "4"),
    boxes({"A": 0, "B": 0, "C": 0, "M": 0}, "5"),
]


@pytest.mark.parametrize("metric", ["dice", "nsd", "hd95", "assd"])
def test_differences_equal_those_of_each_case(metric):
    rows = [row for case in CASES if (row := case_agreement(case, "x", metric, "ABC", "M"))]
    found = pair_table(CASES, "x", metric, "ABC", "M").differences()
    assert found == pytest.approx([row.difference for row in rows], nan_ok=True)


def test_scores_stand_at_their_readers_and_distances_are_negative():
    table = pair_table(CASES[:1], "x", "hd95", "ABC", "M")
    values = {(s.a, s.b): s.values["hd95"] for s in CASES[0].scores}
    assert table.model[0].tolist() == [-values["A", "M"], -values["B", "M"], -values["C", "M"]]
    assert table.human[0, 0, 1] == table.human[0, 1, 0] == -values["A", "B"]
    assert np.isnan(table.human[0].diagonal()).all()


def test_a_reader_who_did_not_read_is_a_gap_and_not_a_zero():
    table = pair_table(CASES[2:3], "x", "dice", "ABC", "M")
    assert np.isnan(table.model[0]).tolist() == [False, True, False]
    assert np.isnan(table.human[0, 1]).all()


def test_a_case_that_nobody_marked_is_left_out():
    table = pair_table(CASES, "x", "dice", "ABC", "M")
    assert len(table.patients) == 4 and table.marked.tolist() == [True, True, True, False]


def test_a_false_positive_where_all_readers_saw_nothing_gives_minus_one():
    assert pair_table(CASES[3:4], "x", "dice", "ABC", "M").differences().tolist() == [-1.0]


def test_a_reader_in_the_models_place_is_scored_with_the_others_only():
    played = pair_table(CASES, "x", "dice", "ABC", "M").playing("B")
    direct = pair_table(CASES, "x", "dice", "AC", "B")
    assert played.raters == ("A", "C") and len(played.patients) == 3  # without the case that only the model marked
    assert played.differences()[:2] == pytest.approx(direct.differences()[:2])
    assert np.isnan(played.differences()[2])


def test_without_a_reader_equals_the_table_of_the_others():
    table = pair_table(CASES[:3], "x", "dice", "ABC", "M").without("A")
    direct = pair_table(CASES[:3], "x", "dice", "BC", "M")
    assert np.array_equal(table.human, direct.human, equal_nan=True)
    assert np.array_equal(table.model, direct.model, equal_nan=True)


def test_cases_of_one_patient_are_averaged():
    cases = [boxes({"A": 4, "B": 4, "M": m}, str(m), "p") for m in (4, 5)]
    table = pair_table(cases, "x", "dice", "AB", "M")
    assert table.patient_differences() == pytest.approx([table.differences().mean()])


def test_pairs_with_a_consensus_or_another_model_are_not_in_the_table():
    scores = [PairScore("x", a, b, dict.fromkeys(METRICS, 0.5), 1.0, 1.0) for a, b in ("AB", "AM", "BM")]
    extra = [PairScore("x", a, b, dict.fromkeys(METRICS, 0.0), 1.0, 1.0) for a, b in (("all but A", "A"), ("N", "B"))]
    table = pair_table([CaseScores("c", "p", [*scores, *extra], 1.0)], "x", "dice", "AB", "M")
    assert table.model.tolist() == [[0.5, 0.5]] and table.human[0, 0, 1] == 0.5


def test_means_of_rows_leave_gaps_out():
    found = row_means(np.array([[0.2, np.nan, 0.4], [np.nan] * 3]))
    assert found == pytest.approx([0.3, np.nan], nan_ok=True)
