"""Several outlines drawn from one model beside the readers': what one case says, and its means over patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medseg.evaluation.crps import crps
from medseg.evaluation.distribution import compare_distributions
from medseg.evaluation.entries import Json, Protocol
from medseg.evaluation.patterns import Masks, Read
from medseg.evaluation.statistics import patient_means
from medseg.shapes import Triple

NAN = float("nan")
SAMPLES_RULE = (
    "per case that somebody or a sample marked: GED^2 and matched IoU of the model's samples and the readers, with "
    "d = 1 - IoU over all pairs, those of an outline with itself too; compare them only at equal numbers of samples "
    "and readers; CRPS of the volume: the samples' volumes as forecast and each reader's as outcome, mean over readers"
)
KEYS = ("ged2", "hungarian_iou", "crps_exact", "crps_ensemble")


def score_samples(samples: Masks, readers: Masks, read: Read, spacing_mm: Triple) -> dict[str, Any] | None:
    """How samples and readers of one structure compare in one case; None where all of them are empty.

    Args:
        samples, readers: masks (X, Y, Z), at least one each.
        read: where each reader read. Volumes are compared with readers who read everywhere.
    """
    if not any(mask.any() for mask in (*samples, *readers)):
        return None
    found = compare_distributions(samples, readers, read)
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    forecast = np.array([np.count_nonzero(mask) for mask in samples]) * voxel_ml
    whole = [mask for mask, where in zip(readers, read or [None] * len(readers), strict=True)
             if where is None or where.all()]  # fmt: skip
    outcomes = [np.count_nonzero(mask) * voxel_ml for mask in whole]
    scores = {
        mode: float(np.mean([crps(forecast, outcome, mode=mode) for outcome in outcomes])) if outcomes else NAN
        for mode in ("exact", "ensemble")
    }
    return {
        "ged2": found.ged2,
        "hungarian_iou": found.hungarian_iou,
        "crps_exact": scores["exact"],
        "crps_ensemble": scores["ensemble"],
        "samples": found.samples,
        "readers": found.readers,
    }


def samples_entry(cases: Sequence[Mapping[str, Any]], patients: Sequence[str], protocol: Protocol) -> Json:
    """Means over patients with their intervals and n, and the smallest and largest number of samples and readers.

    Args:
        cases: at least one result of `score_samples`.
        patients: the patient of each.
    """
    means: Json = {}
    for key in KEYS:
        values = np.array([case[key] for case in cases], dtype=np.float64)
        bounds = (0.0, 1.0) if key == "hungarian_iou" else (-np.inf, np.inf)
        interval = protocol.interval(patient_means(values, patients), bounds)
        n = int(np.count_nonzero(~np.isnan(values)))
        means[key] = {"mean": interval.mean, "ci95": interval.ci95, "n": n}
    entry: Json = {key: means[key] for key in ("ged2", "hungarian_iou")}
    entry["crps_volume_ml"] = {"exact": means["crps_exact"], "ensemble": means["crps_ensemble"], "n": len(cases)}
    for key in ("samples", "readers"):
        numbers = sorted({int(case[key]) for case in cases})
        entry[key] = numbers[0] if len(numbers) == 1 else [numbers[0], numbers[-1]]
    return entry | {"n": len(cases), "rule": SAMPLES_RULE}
