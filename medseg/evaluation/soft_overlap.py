"""Overlap of a probability map with several readers at once: soft Dice, and the thresholded Dice of two challenges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medseg.errors import GeometryError, InputError, VoxelError
from medseg.evaluation.consensus import count_votes
from medseg.evaluation.overlap import dice
from medseg.evaluation.patterns import Masks, Read
from medseg.shapes import BoolArray, FloatArray, IntTriple

TENTHS = range(1, 10)  # thresholds 0.1 to 0.9
ROUNDING = 1e-6  # of probabilities stored in single precision: 0.9 is 0.8999999762 there and still meets 0.9
NAN = float("nan")


@dataclass(frozen=True)
class ThresholdedDice:
    """QUBIQ's score: Dice at every threshold and its mean, 0 to 1; higher is better."""

    mean: float
    at: Mapping[float, float]
    readers: int


@dataclass(frozen=True)
class ConsensusDice:
    """CURVAS' score where the readers agree with each other.

    Args:
        dice: of prediction and structure on the voxels of one opinion, the others left out.
        confidence: mean of the mean probability where all marked and the mean of one minus it where none did.
        confidence_inside, confidence_outside: the two parts.
        agreed, background, disputed: voxels that all marked, that none marked, and the others.
        readers: how many.
    """

    dice: float
    confidence: float
    confidence_inside: float
    confidence_outside: float
    agreed: int
    background: int
    disputed: int
    readers: int


def soft_dice(reference: FloatArray, prediction: FloatArray) -> float:
    """Dice of two shares or probabilities (X, Y, Z): 2 tp / (|p| + |q|) with tp = (|p| + |q| - |p - q|) / 2, 0 to 1.

    It is 1 only for equal maps (Wang et al., Dice semimetric losses, 2023); with products instead, a hard mask beats
    the true shares. Hard masks give the ordinary Dice. Both empty: NaN.

    >>> soft_dice(np.array([1.0, 0.5]), np.array([1.0, 0.5])), soft_dice(np.array([1.0, 0.5]), np.array([1.0, 1.0]))
    (1.0, 0.8571428571428571)
    """
    p, q = np.asarray(reference, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    total = p.sum() + q.sum()
    return float((total - np.abs(p - q).sum()) / total) if total else NAN


def qubiq_dice(probability: FloatArray, masks: Masks, read: Read = None) -> ThresholdedDice:
    """Dice of the probability and of the readers' share, both cut at 0.1, 0.2, ... 0.9 (at least), and its mean.

    The score of the QUBIQ challenge (MICCAI 2020 and 2021; Li et al. 2024). A threshold at which both are empty counts
    1; nobody marked or predicted anything at any threshold: NaN. Voxels that nobody read are left out.

    Raises:
        InputError: probabilities outside 0 to 1; VoxelError for NaN.
    """
    votes, voters = count_votes(masks, read)
    p = check_probabilities(probability, votes.shape)[voters > 0]
    votes, voters = votes[voters > 0].astype(np.int32), voters[voters > 0].astype(np.int32)
    found = {}
    for tenth in TENTHS:
        ours, theirs = p >= tenth / 10 - ROUNDING, 10 * votes >= tenth * voters  # whole numbers: 3 of 10 meets 0.3
        found[tenth / 10] = dice(theirs, ours)
    if all(np.isnan(value) for value in found.values()):
        return ThresholdedDice(NAN, found, len(masks))
    found = {threshold: 1.0 if np.isnan(value) else value for threshold, value in found.items()}
    return ThresholdedDice(float(np.mean(list(found.values()))), found, len(masks))


def curvas_dice(
    probability: FloatArray, masks: Masks, read: Read = None, *, prediction: BoolArray | None = None
) -> ConsensusDice:
    """Dice and confidence on the voxels about which all who read them agree (CURVAS challenge, MICCAI 2024).

    The background is the whole array, as in the challenge, which cropped it to the body: crop alike before comparing.

    Args:
        prediction: the model's mask (X, Y, Z), by default where the probability is above 0.5.

    One of structure and prediction empty: Dice 0; both: NaN. Nothing agreed on: the confidences are NaN.

    Raises:
        InputError: probabilities outside 0 to 1; VoxelError for NaN.
    """
    votes, voters = count_votes(masks, read)
    p = check_probabilities(probability, votes.shape)
    marked = p > 0.5 if prediction is None else np.asarray(prediction, dtype=bool)
    inside, outside = (votes == voters) & (voters > 0), (votes == 0) & (voters > 0)
    agreed, background = int(np.count_nonzero(inside)), int(np.count_nonzero(outside))
    confident_inside = float(p[inside].mean(dtype=np.float64)) if agreed else NAN
    confident_outside = 1 - float(p[outside].mean(dtype=np.float64)) if background else NAN
    return ConsensusDice(
        dice(inside, marked & (inside | outside)),
        (confident_inside + confident_outside) / 2,
        confident_inside,
        confident_outside,
        agreed,
        background,
        int(np.count_nonzero(voters)) - agreed - background,
        len(masks),
    )


def check_probabilities(probability: FloatArray, shape: IntTriple | None = None, *, where: str = "") -> FloatArray:
    """The same array, known to lie between 0 and 1 (but for the rounding of single precision).

    Args:
        shape: that it must have.
        where: what stands first in the message, such as `case c001, label liver`.

    Raises:
        GeometryError: another shape.
        VoxelError: NaN.
        InputError: a value below 0 or above 1, as logits or percentages have.
    """
    p = np.asarray(probability)
    if shape is not None and p.shape != tuple(shape):
        raise GeometryError("probabilities and masks differ in shape", where=where, expected=str(tuple(shape)),
                            got=str(p.shape))  # fmt: skip
    low, high = (float(p.min()), float(p.max())) if p.size else (0.0, 0.0)
    if np.isnan(low) or np.isnan(high):
        raise VoxelError("probabilities that are no numbers", where=where, expected="0 to 1",
                         got=f"{np.count_nonzero(np.isnan(p))} voxels of NaN")  # fmt: skip
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise InputError("probabilities outside 0 to 1", where=where, expected="0 to 1", got=f"{low:g} to {high:g}",
                         do="Apply softmax or sigmoid to logits, divide percentages by 100.")  # fmt: skip
    return p
