"""Several models on the same patients: who leads, and by how much, with paired intervals of their differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from medseg.evaluation.margin_tests import t_test
from medseg.evaluation.multiplicity import holm
from medseg.evaluation.statistics import DRAWS, Interval, mean_intervals

SIGNIFICANT = 0.05
RULE = (
    "models are compared on the patients that all of them have; differences of D are paired by patient, so the "
    "readers cancel; paired t tests, Holm over all pairs of models"
)


@dataclass(frozen=True)
class RankedModel:
    """One model in the order of mean D.

    Args:
        place: 1 for the largest mean; equal means share a place.
        places: best and worst place that the Holm-adjusted tests leave open.
        difference: mean of D with its interval over the common patients.
    """

    model: str
    place: int
    places: tuple[int, int]
    difference: Interval


@dataclass(frozen=True)
class ModelDifference:
    """D of `model` minus D of `other`; p is two-sided, NaN where all differences are equal."""

    model: str
    other: str
    difference: Interval
    p: float
    p_holm: float


@dataclass(frozen=True)
class Ranking:
    """Models from best to worst, every pair in that order, and the number of common patients."""

    models: tuple[RankedModel, ...]
    pairs: tuple[ModelDifference, ...]
    n: int
    left_out: int
    rule: str = RULE


def rank_models(differences: Mapping[str, Mapping[str, float]], *, draws: int = DRAWS, seed: int = 0) -> Ranking:
    """The ranking from, by model, D by patient; patients that one model lacks or has as NaN are left out and counted.

    >>> good, poor = {"p1": 0.0, "p2": 0.01, "p3": 0.0}, {"p1": -0.1, "p2": -0.2, "p3": -0.1}
    >>> [(ranked.model, ranked.place) for ranked in rank_models({"poor": poor, "good": good}).models]
    [('good', 1), ('poor', 2)]
    """
    patients = dict.fromkeys(patient for values in differences.values() for patient in values)
    common = [p for p in patients if all(not np.isnan(values.get(p, np.nan)) for values in differences.values())]
    columns = {model: np.array([values[p] for p in common]) for model, values in differences.items()}
    order = sorted(columns, key=lambda model: -columns[model].mean() if common else 0.0)
    pairs = list(combinations(order, 2))
    table = np.stack([*(columns[m] for m in order), *(columns[a] - columns[b] for a, b in pairs)], axis=1)
    intervals = mean_intervals(table, draws=draws, seed=seed)
    own, between = intervals[: len(order)], dict(zip(pairs, intervals[len(order) :], strict=True))
    p = {(a, b): _p(columns[a] - columns[b]) for a, b in pairs}
    adjusted = holm(p)
    found = tuple(ModelDifference(a, b, between[a, b], p[a, b], adjusted[a, b]) for a, b in pairs)
    ranked = tuple(
        RankedModel(model, _place(interval, own), _places(model, found, len(order)), interval)
        for model, interval in zip(order, own, strict=True)
    )
    return Ranking(ranked, found, len(common), len(patients) - len(common))


def _p(values: np.ndarray) -> float:
    if len(values) < 2 or np.ptp(values) <= 1e-12:
        return float("nan")
    return float(t_test(values).pvalue)


def _place(interval: Interval, own: list[Interval]) -> int:
    return 1 + sum(other.mean > interval.mean + 1e-12 for other in own)


def _places(model: str, pairs: tuple[ModelDifference, ...], models: int) -> tuple[int, int]:
    """Significantly better models push the best open place down, significantly worse ones the worst up."""
    significant = [pair for pair in pairs if pair.p_holm <= SIGNIFICANT]  # a NaN is not
    better = sum(pair.other == model for pair in significant)
    worse = sum(pair.model == model for pair in significant)
    return 1 + better, models - worse
