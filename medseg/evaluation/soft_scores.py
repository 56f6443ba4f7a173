"""A model's probabilities beside the readers' masks: what is measured in a case, and its means over patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medseg.evaluation.calibration import calibration
from medseg.evaluation.consensus import soft_consensus
from medseg.evaluation.entries import Json, Protocol
from medseg.evaluation.patterns import Masks, Read
from medseg.evaluation.soft_overlap import curvas_dice, qubiq_dice, soft_dice
from medseg.evaluation.statistics import patient_means
from medseg.shapes import FloatArray, Triple

SHARES = (
    "ece", "ece_soft", "brier", "brier_soft", "soft_dice", "qubiq_dice", "curvas_dice", "curvas_confidence",
)  # fmt: skip
RULE = (
    "ece and brier: mean over the readers, each held against the probability on the domain; ece_soft and brier_soft: "
    "against the share of readers who marked a voxel; soft_dice: of probability and share on the whole image; "
    "qubiq_dice: both cut at 0.1 to 0.9; curvas_dice and curvas_confidence: on the voxels about which all readers agree"
)
Soft = Mapping[str, Any]


def score_probability(probability: FloatArray, masks: Masks, read: Read, spacing_mm: Triple) -> dict[str, Any]:
    """Everything that one case says of a probability map (X, Y, Z): the SHARES, and the bins of its reliability.

    Args:
        masks: of the readers (X, Y, Z), at least one; `read` where each read.

    Raises:
        InputError, VoxelError, GeometryError: no probabilities, or of another shape.
    """
    found = calibration(probability, masks, read, spacing_mm=spacing_mm)
    share, known = soft_consensus(masks, read)
    curvas = curvas_dice(probability, masks, read)
    return {
        "ece": _mean(found.ece),
        "ece_soft": found.ece_soft,
        "brier": _mean(found.brier),
        "brier_soft": found.brier_soft,
        "soft_dice": soft_dice(np.where(known, share, 0.0), np.where(known, probability, 0.0)),
        "qubiq_dice": qubiq_dice(probability, masks, read).mean,
        "curvas_dice": curvas.dice,
        "curvas_confidence": curvas.confidence,
        "readers": len(masks),
        "domain": found.domain,
        "edges": found.edges.tolist(),
        "probability": found.mean_probability.tolist(),
        "observed": [_low_high(found.observed, np.nanmin), _low_high(found.observed, np.nanmax)],
        "observed_soft": found.observed_soft.tolist(),
        "voxels": found.voxels.tolist(),
    }


def probability_entry(cases: Sequence[Soft], patients: Sequence[str], protocol: Protocol) -> Json:
    """Means of the SHARES over patients with their intervals and n; an undefined value leaves that share's n smaller.

    Args:
        cases: at least one result of `score_probability`, all of one domain.
        patients: the patient of each.
    """
    entry: Json = {"n": len(cases), "domain": cases[0]["domain"], "rule": RULE}
    for key in SHARES:
        values = np.array([case[key] for case in cases], dtype=np.float64)
        interval = protocol.interval(patient_means(values, patients), (0.0, 1.0))
        entry[key] = {"mean": interval.mean, "ci95": interval.ci95, "n": int(np.count_nonzero(~np.isnan(values)))}
    return entry


def reliability_entry(cases: Sequence[Soft]) -> Json:
    """The reliability diagram over all cases, voxels pooled: bins, their mean probability and observed shares.

    `observed` holds the envelope: the shares of who marked least and of who marked most in each case.
    """
    voxels = np.array([case["voxels"] for case in cases], dtype=np.float64)
    rows = {
        key: _pooled(np.array([case[key] for case in cases], dtype=np.float64), voxels)
        for key in ("probability", "observed_soft")
    }
    envelope = [_pooled(np.array([case["observed"][side] for case in cases]), voxels).tolist() for side in (0, 1)]
    return {
        "edges": cases[0]["edges"],
        "voxels": voxels.sum(axis=0).astype(np.int64).tolist(),
        "observed": envelope,
        "n": len(cases),
        **{key: values.tolist() for key, values in rows.items()},
    }


def _pooled(values: FloatArray, voxels: FloatArray) -> FloatArray:
    """Means (B,) over cases (N, B) by voxels; NaN where a bin is empty everywhere."""
    weight = np.where(np.isnan(values), 0.0, voxels)
    total = weight.sum(axis=0)
    return np.where(total > 0, (np.nan_to_num(values) * weight).sum(axis=0) / np.maximum(total, 1.0), np.nan)


def _mean(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _low_high(observed: FloatArray, side: Any) -> list[float]:
    """Smallest or largest (B,) over readers (R, B), NaN where no reader has a voxel in the bin."""
    found = np.full(observed.shape[1], np.nan)
    seen = ~np.isnan(observed).all(axis=0)
    found[seen] = side(observed[:, seen], axis=0)
    return found.tolist()
