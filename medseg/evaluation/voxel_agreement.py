"""STAPLE and the chance-corrected coefficients of every structure and case, and their means over patients.

They are secondary: they count voxels of a declared domain, and readers who drew a large structure agree on its inside
whatever its outline. Beside them belong Dice and NSD.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.evaluation.domain import Domain
from medseg.evaluation.kappa import ChanceCorrected, chance_corrected
from medseg.evaluation.patterns import count_case_patterns
from medseg.evaluation.staple import Staple, staple
from medseg.evaluation.statistics import DRAWS, mean_interval, patient_means
from medseg.imaging.labels import Box
from medseg.imaging.regions import Reading

Json = dict[str, Any]
COEFFICIENTS = ("fleiss", "krippendorff", "gwet_ac1", "conformity", "joint_iou")
HIGHEST = (-float("inf"), 1.0)


@dataclass(frozen=True)
class VoxelAgreement:
    """One structure of one case: the readers who looked for it, in the order of STAPLE's numbers."""

    raters: tuple[str, ...]
    staple: Staple
    kappa: ChanceCorrected


def score_voxels(
    readings: Mapping[str, Reading],
    labels: Sequence[str] | None = None,
    *,
    domain: Domain | None = None,
    boxes: Mapping[str, Mapping[str, Box]] | None = None,
) -> dict[str, VoxelAgreement]:
    """Agreement of the readers of a case, by structure; one that fewer than two looked for is left out.

    Args:
        readings: of the human readers, on one grid.
        labels: structures, all foreground ones of the first reading by default.
        domain: by default the union of the readers dilated by 10 mm.
        boxes: what `reading.boxes()` gave for each, where that is known already.
    """
    if not readings:
        return {}
    found = {}
    for label, patterns in count_case_patterns(readings, labels, domain=domain, boxes=boxes).items():
        raters = tuple(name for name, reading in readings.items() if reading.was_read(label))
        if len(raters) > 1:
            found[label] = VoxelAgreement(raters, staple(patterns), chance_corrected(patterns))
    return found


def kappa_entry(
    cases: Sequence[VoxelAgreement], patients: Sequence[str], *, draws: int = DRAWS, seed: int = 0
) -> Json | None:
    """The value of `kappa` in `agreement.json`: every coefficient as a mean over patients with its interval and n.

    A case in which a coefficient is undefined (nobody marked anything, no background) does not enter that coefficient.

    Args:
        cases: of one structure, on one domain.
        patients: the patient of each.

    None without cases.
    """
    if not cases:
        return None
    entry: Json = {"domain": cases[0].kappa.domain, "ci95": {}, "n": {}, "n_patients": {}}
    for name in COEFFICIENTS:
        values = np.array([getattr(case.kappa, name) for case in cases])
        interval = mean_interval(patient_means(values, patients), draws=draws, seed=seed, bounds=HIGHEST)
        entry[name] = interval.mean
        entry["ci95"][name] = interval.ci95
        entry["n"][name] = int(np.count_nonzero(~np.isnan(values)))
        entry["n_patients"][name] = interval.n
    return entry


def staple_entry(cases: Sequence[VoxelAgreement], patients: Sequence[str]) -> Json | None:
    """The value of `consensus: staple` in `agreement.json`: per rater means over patients of what STAPLE says of each.

    `elected` counts the cases in which the estimate is exactly that rater's mask although the majority's is another:
    there STAPLE is an opinion and no consensus. None without cases.
    """
    if not cases:
        return None
    entry: Json = {
        "domain": cases[0].staple.domain,
        "n": len(cases),
        "not_converged": sum(not case.staple.converged for case in cases),
        "most_iterations": max(case.staple.iterations for case in cases),
        "prior": _mean([case.staple.prior for case in cases], patients),
        "raters": {},
    }
    for rater in dict.fromkeys(name for case in cases for name in case.raters):
        here = [(case.staple, case.raters.index(rater), who)
                for case, who in zip(cases, patients, strict=True) if rater in case.raters]  # fmt: skip
        whose = [who for _, _, who in here]
        sensitivity = [float(found.sensitivity[place]) for found, place, _ in here]
        specificity = [float(found.specificity[place]) for found, place, _ in here]
        entry["raters"][rater] = {
            "sensitivity": _mean(sensitivity, whose),
            "specificity": _mean(specificity, whose),
            "elected": sum(found.elected == place for found, place, _ in here),
            "n": int(np.count_nonzero(~np.isnan(sensitivity))),
        }
    return entry


def _mean(values: Sequence[float], patients: Sequence[str]) -> float:
    """Over patients, undefined values left out; NaN without any."""
    means = patient_means(np.array(values, dtype=np.float64), patients)
    return float(means.mean()) if len(means) else float("nan")
