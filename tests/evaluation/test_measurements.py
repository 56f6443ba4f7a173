"""Volumes of a prediction, what its probabilities and members leave open, and its expected Dice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medseg.evaluation.expected_dice import DiceCalibration
from medseg.evaluation.measurements import Measurement, measure
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.prediction import ClassSums, Prediction

GRID = Geometry((4, 4, 4), np.diag([10.0, 10.0, 10.0, 1.0]))  # voxels of 1 ml
LABELS = LabelSet({"background": 0, "liver": 6, "spleen": 2})


def prediction(certainty: float | None) -> Prediction:
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[:2, :2, :2] = 6
    if certainty is None:
        return Prediction(labels, GRID, LABELS)
    liver = np.where(labels == 6, certainty, 0.0)
    return Prediction(labels, GRID, LABELS, np.stack([1 - liver, liver, 0 * liver], -1).astype(np.float32))


def summed(*, inside: float, members: list[list[float]] | None = None) -> Prediction:
    sums = np.array([[56, 8, 0], [56, 8, 0], [56, inside, 0], [56, 6, 0], [56, 9, 0]], dtype=float)
    return replace(prediction(None), sums=ClassSums(*sums, members=None if members is None else np.array(members)))


def test_the_volume_is_that_of_the_labelled_voxels() -> None:
    liver, spleen = measure(prediction(None))

    assert (liver.structure, liver.value, liver.volume_ml, liver.expected_ml) == ("liver", 6, 8.0, None)
    assert spleen.volume_ml == 0


def test_a_certain_prediction_leaves_nothing_open() -> None:
    liver, spleen = measure(prediction(1.0))

    assert (liver.expected_ml, liver.low_ml, liver.high_ml, liver.promised_dice) == (8.0, 8.0, 8.0, 1.0)
    assert spleen.promised_dice is None


def test_doubt_widens_the_volume_and_lowers_the_promised_dice() -> None:
    liver, _ = measure(prediction(0.5))

    assert (liver.expected_ml, liver.low_ml, liver.high_ml) == (4.0, 0.0, 8.0)
    assert liver.promised_dice == pytest.approx(2 * 4 / (8 + 4), abs=1e-4)


def test_sums_that_come_with_the_prediction_need_no_probabilities() -> None:
    liver, _ = measure(summed(inside=7.0))

    assert (liver.expected_ml, liver.low_ml, liver.high_ml, liver.promised_dice) == (8.0, 6.0, 9.0, 0.875)
    assert (liver.members, liver.members_sd_ml) == (None, None)


def test_the_spread_of_the_members_is_that_of_their_volumes() -> None:
    liver, spleen = measure(summed(inside=7.0, members=[[56, 6, 0], [55, 8, 1], [54, 10, 0]]))

    assert (liver.members, liver.members_low_ml, liver.members_high_ml, liver.members_sd_ml) == (3, 6.0, 10.0, 2.0)
    assert spleen.members_high_ml == 1.0


def test_a_calibration_turns_the_promise_into_an_expectation() -> None:
    promised = np.linspace(0.5, 0.95, 19)
    liver, _ = measure(summed(inside=7.0), {"liver": DiceCalibration.fit(promised, promised - 0.2)})

    assert liver.promised_dice == 0.875
    assert liver.expected_dice == pytest.approx(0.675, abs=1e-3)
    assert liver.expected_dice_low == pytest.approx(0.675, abs=1e-3)  # every case lay on the line


def test_a_calibration_of_few_cases_says_nothing() -> None:
    liver, _ = measure(summed(inside=7.0), {"liver": DiceCalibration.fit([0.5, 0.6], [0.4, 0.5])})

    assert (liver.promised_dice, liver.expected_dice) == (0.875, None)


def test_a_structure_that_postprocessing_took_away_has_no_dice() -> None:
    gone = replace(summed(inside=7.0), labels=np.zeros((4, 4, 4), np.uint8))

    assert (measure(gone)[0].volume_ml, measure(gone)[0].promised_dice, measure(gone)[0].low_ml) == (0, None, 6.0)


def test_what_was_measured_before_completes_what_is_measured_now() -> None:
    before = Measurement("liver", 6, 8.0, expected_ml=7.5, low_ml=6.0)

    assert Measurement("liver", 6, 8.0, low_ml=5.0).completed(before) == Measurement(
        "liver", 6, 8.0, expected_ml=7.5, low_ml=5.0
    )
