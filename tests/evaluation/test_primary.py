"""Which question decides."""

from __future__ import annotations

import pytest

from medseg.errors import UsageError
from medseg.evaluation.primary import Answer, Question, decide, read_question

LIVER, TUMOUR, VEIN = (Question(label, "dice") for label in ("liver", "tumour", "vein"))
ANSWERS = [
    Answer(LIVER, "equivalent", -0.01, 0.001),
    Answer(TUMOUR, "inconclusive", -0.09, 0.04),
    Answer(VEIN, "inconclusive", -0.12, 0.03),
]


def test_the_primary_question_decides_alone():
    found = decide(ANSWERS, LIVER)
    assert (found.class_, found.decided_by) == ("equivalent", LIVER)


def test_without_a_primary_the_worst_label_decides():
    found = decide(ANSWERS, None)
    assert (found.class_, found.decided_by) == ("inconclusive", VEIN) and "worst" in found.reason


def test_an_inferior_label_is_worse_than_an_open_one():
    found = decide([*ANSWERS, Answer(Question("bone", "dice"), "inferior", -0.06)], None)
    assert found.class_ == "inferior"


def test_secondary_questions_are_adjusted_by_holm_and_the_rest_by_benjamini_hochberg():
    bone = Question("bone", "nsd")
    found = decide([*ANSWERS, Answer(bone, "equivalent", 0.0, 0.02)], LIVER, secondary=[TUMOUR, VEIN])
    assert found.secondary == {TUMOUR: pytest.approx(0.06), VEIN: pytest.approx(0.06)}
    assert found.exploratory == {bone: pytest.approx(0.02)}


def test_a_primary_that_was_not_judged_is_refused():
    with pytest.raises(UsageError, match="bone:dice"):
        decide(ANSWERS, Question("bone", "dice"))


def test_nothing_judged_is_refused():
    with pytest.raises(UsageError, match="nothing was judged"):
        decide([], None)


def test_a_label_may_hold_a_colon():
    assert read_question("organ:liver:hd95", ["organ:liver"]) == Question("organ:liver", "hd95")


@pytest.mark.parametrize("text", ["liver", "liver:beauty", "bone:dice", ":dice", "liver:", ""])
def test_an_unknown_question_lists_the_known_ones(text):
    with pytest.raises(UsageError, match="LABEL:METRIC with one of liver and one of dice"):
        read_question(text, ["liver"])


@pytest.mark.parametrize("metric", ["sensitivity", "precision", "volume_difference"])
def test_a_metric_without_a_difference_decides_nothing(metric):
    """Which of two readers is the reference is no matter of agreement."""
    with pytest.raises(UsageError, match="unknown secondary question"):
        read_question(f"liver:{metric}", ["liver"], "secondary")
