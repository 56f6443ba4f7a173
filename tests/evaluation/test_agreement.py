"""The paired difference, its signs, and a whole label from scores to verdict."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from medseg.evaluation.agreement import Protocol, label_agreement, verdict
from medseg.evaluation.entries import leave_one_out_entry
from medseg.evaluation.metrics import METRICS, SYMMETRIC
from medseg.evaluation.paired import CaseScores, case_agreement, entering, identical_readings
from medseg.evaluation.scoring import PairScore
from medseg.evaluation.verdict import Study

RATERS = ["A", "B", "C"]
FAST = Protocol(margins={"x": 0.05}, draws=500)


def score(a: str, b: str, value: float, distance: float, volumes: tuple[float, float] = (1.0, 1.0), label="x"):
    values = {key: distance if metric.is_distance else value for key, metric in METRICS.items()}
    return PairScore(label, a, b, values, *volumes)


def case(number: int, human: float, model: float, *, patient: str = "", distances=(2.0, 2.0), label="x") -> CaseScores:
    """All human pairs score `human`, all pairs with the model `model`."""
    scores = [score(a, b, human, distances[0], label=label) for a, b in combinations(RATERS, 2)]
    scores += [score(rater, "M", model, distances[1], label=label) for rater in RATERS]
    return CaseScores(f"c{number}", patient or f"p{number}", scores, 100.0)


def study(n: int, human: float, model: float, spread: float = 0.02, label: str = "x") -> list[CaseScores]:
    rng = np.random.default_rng(0)
    return [case(k, human, model + spread * rng.normal(), label=label) for k in range(n)]


def judge(cases, protocol=FAST, raters=RATERS, model: str | None = "M", labels=("x",)):
    found = [label_agreement(cases, label, raters, [model] if model else [], protocol) for label in labels]
    return found, *verdict(found, model, Study(len(cases), len(cases), len(raters)), protocol)


@pytest.mark.parametrize("metric", list(METRICS))
def test_d_is_positive_when_the_model_is_nearer_to_the_readers(metric):
    row = case_agreement(case(0, 0.8, 0.9, distances=(3.0, 2.0)), "x", metric, RATERS, "M")
    assert row is not None and row.difference > 0
    row = case_agreement(case(0, 0.9, 0.8, distances=(2.0, 3.0)), "x", metric, RATERS, "M")
    assert row is not None and row.difference < 0


def test_a_false_positive_where_all_readers_saw_nothing_costs_one():
    scores = [score(a, b, 1.0, np.nan, (0.0, 0.0)) for a, b in combinations(RATERS, 2)]
    scores += [score(rater, "M", 0.0, np.inf, (0.0, 1.0)) for rater in RATERS]
    found = CaseScores("c", "p", scores, 100.0)
    row = case_agreement(found, "x", "dice", RATERS, "M")
    assert row is not None and row.difference == -1.0
    distance = case_agreement(found, "x", "hd95", RATERS, "M")
    assert distance is not None and np.isnan(distance.difference)  # distances need a mask from everyone


def test_a_missed_structure_costs_what_readers_agreed_on():
    scores = [score(a, b, 0.8, 2.0) for a, b in combinations(RATERS, 2)]
    scores += [score(rater, "M", 0.0, np.inf, (1.0, 0.0)) for rater in RATERS]
    row = case_agreement(CaseScores("c", "p", scores, 100.0), "x", "dice", RATERS, "M")
    assert row is not None and row.difference == pytest.approx(-0.8) and not row.everyone_marked


def test_a_missing_rater_does_not_count_as_zero():
    gone = [PairScore("x", "C", other, dict.fromkeys(METRICS, np.nan), np.nan, 1.0) for other in ("A", "B", "M")]
    scores = [score("A", "B", 0.8, 2.0), score("A", "M", 0.7, 2.0), score("B", "M", 0.9, 2.0), *gone]
    row = case_agreement(CaseScores("c", "p", scores, 100.0), "x", "dice", RATERS, "M")
    assert row is not None and (row.human_human, row.model_human) == pytest.approx((0.8, 0.8))


def test_a_distance_to_nothing_on_the_common_slices_never_enters_d():
    scores = [score(a, b, 0.8, 2.0) for a, b in combinations(RATERS, 2)]
    scores += [score("A", "M", 0.0, np.inf, (0.0, 1.0)), score("B", "M", 0.8, 2.0), score("C", "M", 0.8, 2.0)]
    row = case_agreement(CaseScores("c", "p", scores, 100.0), "x", "hd95", RATERS, "M")
    assert row is not None and not row.everyone_marked and np.isnan(row.model_human)


def test_means_are_printed_over_the_cases_that_enter_d():
    alone = CaseScores("c9", "p9", [score("A", "B", 0.1, 9.0)], 100.0)  # no prediction of this case
    rows = [case_agreement(c, "x", "dice", RATERS, "M") for c in (case(0, 0.8, 0.9), alone)]
    kept = entering([row for row in rows if row], with_model=True, with_readers=True)
    assert [row.case for row in kept] == ["c0"]


def test_printed_means_subtract_to_d():
    (label,), _, _ = judge(study(30, 0.85, 0.84))
    for metric in SYMMETRIC:
        ours, d = (label.entry["models"]["M"][key][metric]["mean"] for key in ("model_human", "difference"))
        theirs = label.entry["human_human"][metric]["mean"]
        assert d == pytest.approx((theirs - ours) if METRICS[metric].is_distance else (ours - theirs))


def test_patients_weigh_the_same_however_many_cases_they_have():
    cases = [case(k, 0.8, 0.9, patient="many") for k in range(9)] + [case(9, 0.8, 0.7, patient="one")]
    (label,), _, _ = judge(cases)
    d = label.entry["models"]["M"]["difference"]["dice"]
    assert d["mean"] == pytest.approx(0.0, abs=1e-12) and d["n"] == 10


@pytest.mark.parametrize(
    ("human", "model", "spread", "expected"),
    [
        (0.80, 0.80, 0.02, "equivalent"),
        (0.80, 0.88, 0.02, "non-inferior"),
        (0.80, 0.77, 0.20, "inconclusive"),
        (0.80, 0.60, 0.02, "inferior"),
        (0.80, 0.80, 0.00, "descriptive"),
    ],
)
def test_a_study_gets_the_class_of_its_interval(human, model, spread, expected):
    _, found, deciding = judge(study(60, human, model, spread))
    assert found["class"] == expected and deciding == "x"


def test_an_inconclusive_study_says_how_many_patients_it_needs():
    (label,), found, _ = judge(study(60, 0.8, 0.77, 0.2))
    needed = label.entry["models"]["M"]["difference"]["dice"]["n_for_80pct"]
    assert needed > 60 and f"About {needed} patients" in found["sentence"]


def test_a_difference_at_the_margin_is_not_blamed_on_the_number_of_patients():
    (label,), found, _ = judge(study(60, 0.8, 0.75, 0.03))
    assert found["class"] == "inconclusive"
    assert label.entry["models"]["M"]["difference"]["dice"]["n_for_80pct"] is None
    assert any("near the margin" in reason for reason in found["reasons"])


def test_twenty_patients_without_a_miss_are_lowered_by_the_guard():
    _, found, _ = judge(study(20, 0.8, 0.8))
    assert found["class"] == "non-inferior"
    assert any("miss rate" in reason for reason in found["reasons"])


def test_only_the_judged_metric_gets_a_class():
    (label,), _, _ = judge(study(60, 0.8, 0.8))
    classes = {metric: entry["class"] for metric, entry in label.entry["models"]["M"]["difference"].items()}
    assert classes == dict.fromkeys(SYMMETRIC, "descriptive") | {"dice": "equivalent"}


def test_the_worst_label_decides_without_a_primary_one():
    good, bad = study(60, 0.8, 0.8), study(60, 0.8, 0.5, label="y")
    cases = [CaseScores(g.case, g.patient, [*g.scores, *b.scores], 100.0) for g, b in zip(good, bad, strict=True)]
    _, found, deciding = judge(cases, Protocol(margins={"x": 0.05, "y": 0.05}, draws=500), labels=("x", "y"))
    assert (found["class"], deciding) == ("inferior", "y")
    assert "x equivalent, y inferior" in found["reasons"][0]


def test_a_label_that_nobody_marked_is_not_judged():
    _, found, _ = judge(study(60, 0.8, 0.8), Protocol(margins={"x": 0.05}, draws=500), labels=("x", "never"))
    assert found["class"] == "equivalent"
    assert any("never" in reason and "nobody marked" in reason for reason in found["reasons"])


def test_nobody_marked_anything_is_said():
    empty = [CaseScores(f"c{k}", f"p{k}", [score("A", "M", np.nan, np.nan, (0.0, 0.0))], 1.0) for k in range(3)]
    _, found, deciding = judge(empty)
    assert found["class"] == "descriptive" and "nobody marked" in found["sentence"] and deciding is None


def test_one_reader_is_described_with_the_models_agreement():
    cases = [CaseScores(f"c{k}", f"p{k}", [score("A", "M", 0.7, 3.0)], 1.0) for k in range(30)]
    (label,), found, _ = judge(cases, raters=["A"])
    assert found["class"] == "descriptive" and "fewer than 2 readers" in found["reasons"][0]
    assert label.entry["models"]["M"]["model_human"]["dice"]["mean"] == pytest.approx(0.7)
    assert label.entry["models"]["M"]["difference"]["dice"]["n"] == 0
    assert "Dice 0.700 with the reader" in found["sentence"]


def test_readers_alone_are_described_without_a_model_entry():
    (label,), found, deciding = judge(study(30, 0.8, 0.8), model=None)
    assert label.entry["models"] == {} and found["class"] == "descriptive" and deciding == "x"
    assert label.entry["human_human"]["dice"]["mean"] == pytest.approx(0.8)


def test_a_large_margin_is_warned_about():
    _, found, _ = judge(study(60, 0.96, 0.96))
    assert any("125 % of the readers' own disagreement" in reason for reason in found["reasons"])


def test_delineation_leaves_out_what_somebody_missed():
    missed = [score(a, b, 0.8, 2.0) for a, b in combinations(RATERS, 2)]
    missed += [score(rater, "M", 0.0, np.inf, (1.0, 0.0)) for rater in RATERS]
    cases = [*study(30, 0.8, 0.8, 0.0), CaseScores("c30", "p30", missed, 1.0)]
    (label,), _, _ = judge(cases)
    ours = label.entry["models"]["M"]
    assert ours["difference"]["dice"]["mean"] == pytest.approx(-0.8 / 31)
    assert ours["delineation"]["dice"] == {"mean": pytest.approx(0.0), "ci95": None, "n": 30}


def test_williams_is_the_ratio_of_patient_means():
    (label,), _, _ = judge([*study(30, 0.8, 0.8, 0.0), case(30, 0.4, 0.8)])
    assert label.entry["models"]["M"]["williams"]["dice"]["value"] == pytest.approx(0.8 / ((30 * 0.8 + 0.4) / 31))


def test_identical_outlines_are_counted_with_their_number():
    cases = [case(0, 1.0, 0.8), case(1, 0.7, 1.0)]
    found = identical_readings(cases, RATERS, "M")
    assert found["A", "B"] == (1, 2) and found["A", "M"] == (1, 2)
    assert identical_readings([case(0, 0.9, 0.9)], RATERS, "M") == {}


def test_a_tiny_lesion_drawn_alike_once_is_chance():
    """One of four outlines of 0.05 ml; of a liver one is enough, and of a tiny lesion half of all."""

    def compared(volume_ml: float, equal: int) -> dict:
        cases = [
            CaseScores(f"c{k}", f"p{k}", [score("A", "B", 1.0 if k < equal else 0.8, 0.0, (volume_ml,) * 2)], 100.0)
            for k in range(4)
        ]
        return dict(identical_readings(cases, ["A", "B"], None))

    assert compared(0.05, 1) == {}
    assert compared(0.05, 2) == {("A", "B"): (2, 4)} and compared(1500.0, 1) == {("A", "B"): (1, 4)}


def test_volumes_of_numpy_make_the_same_flags():
    """numpy's booleans add up to a boolean, so that two empty masks would pass for one."""
    nothing = np.float64(0.0)
    assert score("A", "B", 1.0, 0.0, (nothing, nothing)).flag == "both_empty"
    assert score("A", "B", 1.0, 0.0, (nothing, np.float64(1.0))).flag == "one_empty"


@pytest.mark.parametrize("metric", ["dice", "hd95"])
def test_what_is_left_out_has_an_interval_around_its_mean(metric):
    scores = [case(k, 0.8 + 0.01 * k, 0.7, distances=(2.0, 3.0 + 0.1 * k)) for k in range(6)]
    for one in scores:
        one.scores.extend(
            score("all but A", name, value, mm)
            for name, value, mm in (
                ("A", 0.8 + 0.01 * int(one.case[1:]), 2.0),
                ("M", 0.7, 3.0 + 0.1 * int(one.case[1:])),
            )
        )
    found = leave_one_out_entry(scores, "x", RATERS, "M", Protocol(metric=metric, draws=500))["A"][metric]
    low, high = found["difference_ci95"]
    assert low < found["difference"] < high < 0  # farther from the others than A in every case


def test_one_case_of_one_patient_is_told_in_the_singular():
    _, found, _ = judge([case(0, 0.8, 0.9)])
    assert found["sentence"].startswith("On 1 case (1 patient, 3 readers) ")
    assert "1 finding present" in found["sentence"] and "1 patient; at least 20" in found["sentence"]
