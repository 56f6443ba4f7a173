"""Volumes of a prediction and what its probabilities leave open."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.measurements import measure
from medseg.imaging.prediction import Prediction

GRID = Geometry((4, 4, 4), np.diag([10.0, 10.0, 10.0, 1.0]))  # voxels of 1 ml
LABELS = LabelSet({"background": 0, "liver": 6, "spleen": 2})


def prediction(certainty: float | None) -> Prediction:
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[:2, :2, :2] = 6
    if certainty is None:
        return Prediction(labels, GRID, LABELS)
    liver = np.where(labels == 6, certainty, 0.0)
    return Prediction(labels, GRID, LABELS, np.stack([1 - liver, liver, 0 * liver], -1).astype(np.float32))


def test_the_volume_is_that_of_the_labelled_voxels() -> None:
    liver, spleen = measure(prediction(None))

    assert (liver.structure, liver.value, liver.volume_ml, liver.expected_ml) == ("liver", 6, 8.0, None)
    assert spleen.volume_ml == 0


def test_a_certain_prediction_leaves_nothing_open() -> None:
    liver, spleen = measure(prediction(1.0))

    assert (liver.expected_ml, liver.low_ml, liver.high_ml, liver.expected_dice) == (8.0, 8.0, 8.0, 1.0)
    assert spleen.expected_dice is None


def test_doubt_widens_the_volume_and_lowers_the_expected_dice() -> None:
    liver, _ = measure(prediction(0.5))

    assert (liver.expected_ml, liver.low_ml, liver.high_ml) == (4.0, 0.0, 8.0)
    assert liver.expected_dice == pytest.approx(2 * 4 / (8 + 4), abs=1e-4)
