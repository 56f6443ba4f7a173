"""What a prediction measures: the volume of each structure, and between which volumes its probabilities leave it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medseg.imaging.labels import count_values
from medseg.imaging.prediction import Prediction

DOUBTED = (0.75, 0.25)  # a voxel at 0.75 is in the structure by three to one, at 0.25 outside by as much


@dataclass(frozen=True)
class Measurement:
    """One structure of one study; what needs probabilities is None without them.

    Args:
        volume_ml: of the labelled voxels; 0 for a structure that was not found.
        expected_ml: sum of the probabilities.
        low_ml, high_ml: of the voxels of probability 0.75 or more, and of 0.25 or more.
        expected_dice: Dice that the labels have on average with masks drawn from the probabilities, if voxels were
            independent and the probabilities right (neither is: trust it as a rank); None where nothing is expected.
    """

    structure: str
    value: int
    volume_ml: float
    expected_ml: float | None = None
    low_ml: float | None = None
    high_ml: float | None = None
    expected_dice: float | None = None

    @property
    def as_record(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)


def measure(prediction: Prediction) -> tuple[Measurement, ...]:
    """The measurements of every structure of the label set, in its order; probabilities are read plane by plane."""
    voxel, labels = prediction.geometry.voxel_ml, prediction.label_set
    counts = dict(zip(*count_values(prediction.labels), strict=True))
    found = []
    for index, name in enumerate(labels.names):
        if name not in labels.foreground:
            continue
        value = labels.values[name]
        volume = counts.get(value, 0)
        doubt = {} if prediction.probabilities is None else _doubt(prediction, index, value, volume)
        found.append(Measurement(name, value, round(volume * voxel, 4), **doubt))
    return tuple(found)


def _doubt(prediction: Prediction, index: int, value: int, volume: int) -> dict[str, float | None]:
    expected, overlap, low, high = 0.0, 0.0, 0, 0
    for z in range(prediction.geometry.shape[2]):
        plane = np.asarray(prediction.probabilities[..., z, index])  # type: ignore[index]
        expected += float(plane.sum(dtype=np.float64))
        overlap += float(plane[prediction.labels[..., z] == value].sum(dtype=np.float64))
        low, high = low + int((plane >= DOUBTED[0]).sum()), high + int((plane >= DOUBTED[1]).sum())
    voxel = prediction.geometry.voxel_ml
    ml = {"expected_ml": expected * voxel, "low_ml": low * voxel, "high_ml": high * voxel}
    rounded: dict[str, float | None] = {name: round(each, 4) for name, each in ml.items()}
    seen = volume + expected
    return {**rounded, "expected_dice": round(2 * overlap / seen, 4) if volume else None}
