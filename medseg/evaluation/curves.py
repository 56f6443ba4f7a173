"""Surface-distance curves: NSD at every tolerance from 0 to 10 mm, so that no single tolerance decides unseen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import UsageError
from medseg.evaluation.paired import CaseScores, kind_of
from medseg.evaluation.scoring import PairScore
from medseg.evaluation.statistics import patient_means
from medseg.evaluation.surface import Gap
from medseg.shapes import FloatArray

CURVE_MM: FloatArray = np.arange(101) / 10.0


@dataclass(frozen=True, eq=False)
class SurfaceCurves:
    """Mean NSD over patients at each tolerance.

    Args:
        tolerance_mm: (T,) tolerances.
        human_human, model_human: (T,) means over patients of the means over a case's pairs; None where there are none.
        n_cases, n_patients: that enter both.
    """

    tolerance_mm: FloatArray
    human_human: FloatArray | None
    model_human: FloatArray | None
    n_cases: int
    n_patients: int

    def as_dict(self) -> dict[str, object]:
        """What stands in a file."""
        curves = {"human_human": self.human_human, "model_human": self.model_human}
        return {
            "tolerance_mm": self.tolerance_mm.tolist(),
            **{key: None if curve is None else curve.tolist() for key, curve in curves.items()},
            "n_cases": self.n_cases,
            "n_patients": self.n_patients,
        }


def nsd_curve(gap: Gap, tolerance_mm: FloatArray = CURVE_MM) -> FloatArray:
    """NSD (T,) of one pair at each tolerance (T,), from distances that were measured once."""
    return np.array([gap.nsd(float(tolerance)) for tolerance in tolerance_mm])


def surface_curves(
    cases: Sequence[CaseScores],
    label: str,
    raters: Sequence[str],
    model: str | None,
    *,
    tolerance_mm: FloatArray = CURVE_MM,
) -> SurfaceCurves:
    """The curves of readers among each other and of the model against them, over the cases that NSD itself enters.

    A pair with one empty mask scores 0 at every tolerance, one with two empty masks 1 where somebody marked the
    structure, as in NSD; cases that nobody marked are left out.

    Args:
        cases: scored with `keep_gaps=True`.

    Raises:
        UsageError: the distances were not kept.
    """
    wanted = [*(["human-human"] if len(raters) > 1 else []), *(["model-human"] if model is not None else [])]
    rows: dict[str, list[FloatArray]] = {kind: [] for kind in wanted}
    patients: list[str] = []
    for case in cases:
        if not any(case.presence(label, [*raters, *([model] if model else [])]).values()):
            continue
        pairs = [(kind_of(score, raters, model), score) for score in case.of(label) if not score.is_missing]
        means = {kind: [_curve(s, tolerance_mm) for k, s in pairs if k == kind] for kind in wanted}
        if all(means.values()) and means:
            patients.append(case.patient)
            for kind, found in means.items():
                rows[kind].append(np.mean(found, axis=0))
    curves = {kind: _over_patients(found, patients) for kind, found in rows.items() if found}
    return SurfaceCurves(
        tolerance_mm, curves.get("human-human"), curves.get("model-human"), len(patients), len(set(patients))
    )


def _curve(score: PairScore, tolerance_mm: FloatArray) -> FloatArray:
    if score.flag:
        return np.full(len(tolerance_mm), score.values["nsd"])
    if score.gap is None:
        raise UsageError("the distances between surfaces were not kept", do="Score with keep_gaps=True.")
    return nsd_curve(score.gap, tolerance_mm)


def _over_patients(rows: Sequence[FloatArray], patients: Sequence[str]) -> FloatArray:
    return np.array([patient_means(column, patients).mean() for column in np.array(rows).T])
