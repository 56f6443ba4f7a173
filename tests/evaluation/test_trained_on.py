"""Pairs with readers from whom a model learned stand apart."""

from __future__ import annotations

import pytest

from medseg.evaluation.agreement import Protocol
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.trained_on import trained_on_entry
from tests.evaluation.test_agreement import score

FAST = Protocol(draws=500)


def learned(n: int = 6) -> list[CaseScores]:
    """The model agrees with A at 0.95, with B and C at 0.70; readers among themselves at 0.80."""
    return [
        CaseScores(f"c{k}", f"p{k}", [
            *(score(a, b, 0.80, 2.0) for a, b in ("AB", "AC", "BC")),
            score("A", "M", 0.95 + 0.001 * k, 1.0), score("B", "M", 0.70, 3.0), score("C", "M", 0.70, 3.0),
        ], 100.0)
        for k in range(n)
    ]  # fmt: skip


def test_agreement_with_a_teacher_stands_apart_from_that_with_strangers():
    found = trained_on_entry(learned(), "x", "ABC", "M", ["A"], FAST)
    assert found is not None
    assert found["learned_from"]["raters"] == ["A"] and found["others"]["raters"] == ["B", "C"]
    assert found["learned_from"]["difference"]["mean"] == pytest.approx(0.1525)
    assert found["others"]["difference"]["mean"] == pytest.approx(-0.10) and found["others"]["difference"]["n"] == 6


def test_distances_are_turned_so_that_positive_favours_the_model():
    found = trained_on_entry(learned(), "x", "ABC", "M", ["A"], Protocol(metric="hd95", draws=500))
    assert found is not None and found["learned_from"]["model_human"]["mean"] == pytest.approx(1.0)
    assert found["learned_from"]["difference"]["mean"] == pytest.approx(1.0)


def test_who_learned_from_nobody_here_has_no_block():
    assert trained_on_entry(learned(), "x", "ABC", "M", ["D"], FAST) is None


def test_who_learned_from_everybody_has_nobody_else():
    found = trained_on_entry(learned(), "x", "ABC", "M", "ABC", FAST)
    assert found is not None and found["others"]["raters"] == [] and found["others"]["difference"]["n"] == 0
