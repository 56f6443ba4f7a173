import numpy as np
import pytest

from medseg.evaluation.dose_response_scores import RESAMPLING, UNTRANSFORMED, score_dose, score_resampling
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet

NAMES = LabelSet({"background": 0, "liver": 1, "lesion": 2})
GRID = Geometry((8, 1, 1), np.eye(4))


def reading(*values: int, labelled=None) -> LabelMap:
    return LabelMap(np.array(values, dtype=np.uint8).reshape(8, 1, 1), GRID, NAMES, labelled)


LIVER = reading(1, 1, 1, 1, 0, 0, 0, 0)
HALF = reading(1, 1, 0, 0, 0, 0, 0, 0)
EMPTY = reading(*[0] * 8)


def dice(judged, own, references=None):
    found = score_dose(judged, own, references or {}, NAMES.foreground)
    return {(score.label, score.reference): score.dice for score in found}


def test_half_of_the_liver_has_a_dice_of_two_thirds():
    assert dice(HALF, LIVER, {"A": LIVER})["liver", "A"] == pytest.approx(2 / 3)


def test_a_missed_structure_scores_0():
    found = dice(EMPTY, LIVER, {"A": LIVER})
    assert found["liver", "A"] == found["liver", UNTRANSFORMED] == 0


def test_a_structure_that_nobody_marked_is_not_counted():
    found = dice(LIVER, LIVER, {"A": LIVER})
    assert found["lesion", "A"] is None
    assert found["lesion", UNTRANSFORMED] is None


def test_both_empty_agrees_where_another_expert_marked_the_structure():
    found = dice(EMPTY, EMPTY, {"A": EMPTY, "B": LIVER})
    assert (found["liver", "A"], found["liver", "B"]) == (1.0, 0.0)


def test_what_only_the_untransformed_prediction_marked_makes_no_agreement_with_experts():
    assert dice(EMPTY, LIVER, {"A": EMPTY})["liver", "A"] is None


def test_a_structure_that_an_expert_did_not_look_for_has_no_line():
    assert ("lesion", "A") not in dice(LIVER, LIVER, {"A": reading(*[0] * 8, labelled=("liver",))})


def test_scores_at_the_identity_are_those_of_evaluate():
    from medseg.evaluation.scoring import score_case

    readings = {"A": LIVER, "B": reading(0, 1, 1, 1, 2, 0, 0, 0), "model": HALF}
    expected = {(score.label, score.a): score.values["dice"]
                for score in score_case(readings, pairs=[("A", "model"), ("B", "model")])}  # fmt: skip
    found = dice(HALF, HALF, {name: readings[name] for name in "AB"})
    assert {key: found[key] for key in expected} == expected


def test_resampling_alone_is_the_dice_of_the_carried_labels():
    assert [(score.reference, score.dice) for score in score_resampling(HALF, LIVER, ["liver", "lesion"])] == [
        (RESAMPLING, pytest.approx(2 / 3)),
        (RESAMPLING, None),
    ]
