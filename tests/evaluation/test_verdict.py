"""The five classes at their boundaries, and sentences that say no more than they may."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.presence import FALSE_POSITIVE, MISSED, Presence, RateGuard
from medseg.evaluation.statistics import Interval
from medseg.evaluation.verdict import (
    CAP,
    CLASSES,
    Finding,
    Study,
    classify,
    guarded,
    margin_share,
    readers_sentence,
    sentence,
    share_warning,
)

STUDY = Study(48, 45, 3)


def interval(low: float, high: float, n: int = 45) -> Interval:
    return Interval((low + high) / 2, (low, high), "bootstrap-t", 0.05, n)


def guard(upper: float) -> RateGuard:
    return RateGuard(0.0, 0.0, (0.0, 0.0), upper, 20)


def table(miss_upper: float = 0.05, false_upper: float = float("nan")) -> Presence:
    return Presence(61, 2, 0, 0, {MISSED: guard(miss_upper), FALSE_POSITIVE: guard(false_upper)})


def finding(low: float, high: float, **changes) -> Finding:
    fields = {"label": "lesion", "metric": "nsd", "human_human": 0.90, "model_human": 0.91, "margin": 0.03,
              "tolerance_mm": 2.0, "presence": table()}  # fmt: skip
    return Finding(difference=interval(low, high), **{**fields, **changes})


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.049, 0.049, "equivalent"),
        (-0.049, 0.051, "non-inferior"),
        (0.051, 0.2, "non-inferior"),  # never "superior"
        (-0.049, 0.05, "non-inferior"),  # the bound itself is not inside
        (-0.05, 0.01, "inconclusive"),
        (-0.2, -0.049, "inconclusive"),
        (-0.2, -0.05, "inconclusive"),
        (-0.2, -0.051, "inferior"),
    ],
)
def test_classes_at_their_boundaries(low, high, expected):
    assert classify(interval(low, high), 0.05, 3) == (expected, [])


@pytest.mark.parametrize(
    ("difference", "margin", "raters", "words"),
    [
        (interval(-0.01, 0.01), None, 3, "no margin"),
        (interval(-0.01, 0.01), 0.05, 1, "fewer than 2 readers"),
        (interval(-0.01, 0.01, n=19), 0.05, 3, "19 patients"),
        (Interval(0.0, None, "none: all values equal", 0.0, 45), 0.05, 3, "all values equal"),
    ],
)
def test_what_cannot_be_judged_is_described_with_the_reason(difference, margin, raters, words):
    found, reasons = classify(difference, margin, raters)
    assert found == "descriptive" and words in reasons[0]


def test_twenty_patients_are_enough():
    assert classify(interval(-0.01, 0.01, n=20), 0.05, 2)[0] == "equivalent"


@pytest.mark.parametrize(
    ("found", "lowered"),
    [("equivalent", "non-inferior"), ("non-inferior", "inconclusive"), ("inconclusive", "inconclusive"),
     ("inferior", "inferior"), ("descriptive", "descriptive")],
)  # fmt: skip
def test_the_guard_lowers_by_one_step(found, lowered):
    assert guarded(found, table(miss_upper=0.168), 0.10)[0] == lowered
    assert guarded(found, table(miss_upper=0.09), 0.10) == (found, [])


def test_the_guard_names_rate_and_patients():
    _, (reason,) = guarded("equivalent", table(false_upper=0.3), 0.10)
    assert "false-positive rate" in reason and "30 %" in reason and "20 patients" in reason


def test_equivalence_is_told_with_numbers_misses_and_cap():
    text = sentence("equivalent", finding(-0.01, 0.028), STUDY)
    assert text.startswith("On 48 cases (45 patients, 3 readers) the model agreed with a reader as closely as readers")
    assert "NSD at 2 mm 0.910 vs 0.900, difference +0.009 (95 % CI -0.010 to 0.028; margin -0.030" in text
    assert "2 of 61 findings present for at least two readers were missed." in text
    assert text.endswith(CAP)


def test_a_difference_below_zero_is_told_as_slightly_less():
    assert "slightly less, within the margin" in sentence("equivalent", finding(-0.02, -0.001), STUDY)


@pytest.mark.parametrize("found", CLASSES)
def test_no_sentence_calls_a_model_better_than_readers(found):
    text = sentence(found, finding(0.1, 0.2), STUDY).lower()
    assert "superior" not in text and "better" not in text


def test_only_a_shown_agreement_carries_the_cap():
    assert CAP not in sentence("inferior", finding(-0.2, -0.1), STUDY)
    assert CAP in sentence("non-inferior", finding(-0.01, 0.1), STUDY)


def test_an_open_question_says_how_many_patients_it_needs():
    assert "About 120 patients" in sentence("inconclusive", finding(-0.1, 0.1, needed=120), STUDY)


def test_distances_are_told_in_millimetres():
    text = sentence("inferior", finding(-2.0, -1.0, metric="hd95", human_human=3.0, model_human=4.5, margin=0.5), STUDY)
    assert "HD95 4.50 mm vs 3.00 mm, difference -1.50 mm (95 % CI -2.00 mm to -1.00 mm; margin -0.50 mm" in text


def test_without_a_model_the_readers_are_described():
    text = readers_sentence("1", "dice", Interval(0.82, (0.8, 0.84), "bca", 0.1, 60), Study(60, 60, 4), 2.0)
    assert "readers agreed with each other at label 1, Dice 0.820 (95 % CI 0.800 to 0.840)" in text
    assert "no two readers" in readers_sentence("1", "dice", Interval(np.nan, None, "", np.nan, 0), Study(3, 3, 1), 2.0)


def test_a_margin_is_nothing_for_a_lesion_and_enormous_for_a_kidney():
    assert margin_share(0.05, 0.60, "dice") == pytest.approx(0.125)
    assert margin_share(0.05, 0.98, "dice") == pytest.approx(2.5)
    assert margin_share(0.5, 2.0, "hd95") == pytest.approx(0.25)
    assert share_warning(finding(-0.01, 0.01, margin=0.05)) is None  # exactly half
    assert "60 % of the readers' own disagreement" in (share_warning(finding(-0.01, 0.01, margin=0.06)) or "")
    assert "larger than any share" in (share_warning(finding(-0.01, 0.01, human_human=1.0)) or "")
