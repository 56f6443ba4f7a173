"""What a prediction measures: the volume of each structure, what is left open about it, and its expected Dice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medseg.evaluation.expected_dice import DiceCalibration, expected_dice
from medseg.imaging.labels import count_values
from medseg.imaging.prediction import LIKELY, POSSIBLE, ClassSums, Prediction

Doubt = dict[str, float | None]


@dataclass(frozen=True)
class Measurement:
    """One structure of one study; what was not asked for, or is not defined, is None.

    Args:
        volume_ml: of the labelled voxels, postprocessing included; 0 for a structure that was not found. All that
            follows is of the network's own labels, before any postprocessing.
        expected_ml: sum of the probabilities.
        low_ml, high_ml: of the voxels of probability 0.75 or more, and of 0.25 or more.
        members: how many networks or experts were heard one by one.
        members_low_ml, members_high_ml, members_sd_ml: the smallest and largest volume of a member, and the sample
            standard deviation of them all.
        promised_dice: what the probabilities promise, see `expected_dice`; None where nothing is labelled.
        expected_dice: what cases that promised as much had on held-out cases of the training, on average.
        expected_dice_low, expected_dice_high: between which about nine of ten lie.
    """

    structure: str
    value: int
    volume_ml: float
    expected_ml: float | None = None
    low_ml: float | None = None
    high_ml: float | None = None
    members: int | None = None
    members_low_ml: float | None = None
    members_high_ml: float | None = None
    members_sd_ml: float | None = None
    promised_dice: float | None = None
    expected_dice: float | None = None
    expected_dice_low: float | None = None
    expected_dice_high: float | None = None

    @property
    def as_record(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)

    def completed(self, earlier: Measurement) -> Measurement:
        """With what an earlier measurement of the same prediction had asked for and this one had not."""
        return Measurement(**{name: value if value is not None else getattr(earlier, name)
                              for name, value in asdict(self).items()})  # fmt: skip


def measure(
    prediction: Prediction, calibrations: Mapping[str, DiceCalibration] | None = None
) -> tuple[Measurement, ...]:
    """The measurements of every structure of the label set, in its order; volumes in ml to four decimals.

    Without `prediction.sums`, probabilities are summed plane by plane.

    Args:
        calibrations: by structure, of the model that predicted.
    """
    voxel, labels = prediction.geometry.voxel_ml, prediction.label_set
    counts = dict(zip(*count_values(prediction.labels), strict=True))
    sums = prediction.sums or _sum_up(prediction)
    found = []
    for index, name in enumerate(labels.names):
        if name not in labels.foreground:
            continue
        value = labels.values[name]
        volume = counts.get(value, 0)
        doubt: Doubt = {}
        if sums is not None:
            calibration = (calibrations or {}).get(name)
            doubt = _volumes(sums, index, voxel) | (_dice(sums, index, calibration) if volume else {})
        found.append(Measurement(name, value, round(volume * voxel, 4), **doubt))  # type: ignore[arg-type]
    return tuple(found)


def _volumes(sums: ClassSums, index: int, voxel_ml: float) -> Doubt:
    found: Doubt = {
        "expected_ml": sums.total[index] * voxel_ml,
        "low_ml": sums.likely[index] * voxel_ml,
        "high_ml": sums.possible[index] * voxel_ml,
    }
    if sums.members is not None:
        own = sums.members[:, index] * voxel_ml
        found |= {"members_low_ml": own.min(), "members_high_ml": own.max(), "members_sd_ml": own.std(ddof=1)}
    rounded: Doubt = {name: round(float(value), 4) for name, value in found.items() if value is not None}
    return rounded | ({} if sums.members is None else {"members": len(sums.members)})


def _dice(sums: ClassSums, index: int, calibration: DiceCalibration | None) -> Doubt:
    promised = expected_dice(float(sums.inside[index]), float(sums.total[index]), int(sums.voxels[index]))
    if math.isnan(promised):
        return {}
    found: Doubt = {"promised_dice": round(promised, 4)}
    if calibration is not None and (expectation := calibration(min(promised, 1.0))) is not None:
        for name, value in zip(("expected_dice", "expected_dice_low", "expected_dice_high"), expectation, strict=True):
            found[name] = round(value, 4)
    return found


def _sum_up(prediction: Prediction) -> ClassSums | None:
    """The sums of probabilities that come without them; None without probabilities."""
    if prediction.probabilities is None:
        return None
    found = np.zeros((5, len(prediction.label_set.names)))
    for index, name in enumerate(prediction.label_set.names):
        value = prediction.label_set.values[name]
        for z in range(prediction.geometry.shape[2]):
            plane, own = np.asarray(prediction.probabilities[..., z, index]), prediction.labels[..., z] == value
            found[:, index] += (own.sum(), plane.sum(dtype=np.float64), plane[own].sum(dtype=np.float64),
                                (plane >= LIKELY).sum(), (plane >= POSSIBLE).sum())  # fmt: skip
    return ClassSums(*found)
