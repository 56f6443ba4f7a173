"""Secondary questions: judged by their own margin, adjusted by Holm."""

from __future__ import annotations

import pytest

from medseg.evaluation.agreement import Protocol, label_agreement, verdict
from medseg.evaluation.primary import Question
from medseg.evaluation.verdict import Study
from tests.evaluation.test_agreement import RATERS, case

DICE, HD95 = Question("x", "dice"), Question("x", "hd95")


def study(n: int = 24) -> list:
    """The model is as near as readers in Dice, and 3 mm farther in every distance, give or take."""
    return [case(k, 0.80, 0.80 + 0.01 * (-1) ** k, distances=(2.0, 5.0 + 0.1 * (k % 3))) for k in range(n)]


def judged(protocol: Protocol) -> dict:
    found = label_agreement(study(), "x", RATERS, ["M"], protocol)
    return verdict([found], "M", Study(24, 24, 3), protocol)[0]


def test_a_secondary_question_has_a_metric_and_a_margin_of_its_own():
    protocol = Protocol(margins={"x": 0.05}, draws=500, primary=DICE, secondary={HD95: 1.0}, guard_margin=0.2)
    found = judged(protocol)
    assert found["class"] == "equivalent"  # the primary one, whatever the secondary says
    entry = found["secondary"]["questions"]["x:hd95"]
    assert entry["class"] == "inferior" and entry["margin"] == 1.0 and not entry["shown"]
    assert entry["difference"]["mean"] == pytest.approx(-3.1) and entry["difference"]["n"] == 24


def test_two_secondary_questions_are_adjusted_by_holm():
    secondary = {HD95: 4.0, Question("x", "assd"): 4.0}
    protocol = Protocol(margins={"x": 0.05}, draws=500, primary=DICE, secondary=secondary, guard_margin=0.2)
    entries = judged(protocol)["secondary"]["questions"].values()
    assert all(entry["p_holm"] == pytest.approx(2 * entry["p"], rel=1e-6) for entry in entries)  # both are equal
    assert all(entry["shown"] for entry in entries)


def test_without_secondary_questions_there_is_no_block():
    assert "secondary" not in judged(Protocol(margins={"x": 0.05}, draws=500, primary=DICE))


def test_nothing_secondary_is_shown_where_the_primary_question_is_not():
    protocol = Protocol(margins={"x": 0.001}, draws=500, primary=DICE, secondary={HD95: 4.0}, guard_margin=0.2)
    found = judged(protocol)
    assert found["class"] == "inconclusive"
    assert found["secondary"]["questions"]["x:hd95"]["p_holm"] < 0.025
    assert not found["secondary"]["questions"]["x:hd95"]["shown"]


def test_a_secondary_question_of_too_few_patients_is_not_shown():
    few = Question("y", "dice")
    protocol = Protocol(
        margins={"x": 0.05, "y": 0.05}, draws=500, primary=DICE, secondary={few: 0.05}, guard_margin=0.2
    )
    rare = [case(k, 0.80, 0.80 + 0.001 * (-1) ** k, label="y") for k in range(10)]
    found = [
        label_agreement(study(), "x", RATERS, ["M"], protocol),
        label_agreement(rare, "y", RATERS, ["M"], protocol),
    ]
    entry = verdict(found, "M", Study(24, 24, 3), protocol)[0]["secondary"]["questions"]["y:dice"]
    assert entry["p_holm"] < 0.025 and entry["class"] == "descriptive" and not entry["shown"]
