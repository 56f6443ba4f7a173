"""Would the answer be the same with other readers? Cases and readers drawn together, as a sensitivity analysis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.evaluation.bootstrap import draw_counts, percentile_bounds
from medseg.evaluation.pair_table import PairTable
from medseg.shapes import FloatArray, IntArray

MIN_RATERS = 5
DRAWS = 2000
TWO_WAY_RULE = (
    "percentile interval of D over draws of patients and of readers; a reader drawn twice is not paired with himself; "
    "draws without two different readers are left out"
)
RANGE_RULE = f"fewer than {MIN_RATERS} readers cannot be drawn: smallest and largest D when one reader is left out"


@dataclass(frozen=True)
class TwoWay:
    """D when both cases and readers are a sample.

    Args:
        mean: D as observed, over patients.
        ci95: interval over patients and readers, or None below five readers.
        without: D without each reader; empty where that leaves fewer than two.
        range: smallest and largest of `without`, or None.
        n, raters: patients and readers.
        draws: draws that entered the interval.
        reason: why there is nothing, or empty.
    """

    mean: float
    ci95: tuple[float, float] | None
    without: dict[str, float]
    range: tuple[float, float] | None
    n: int
    raters: int
    draws: int
    rule: str
    reason: str = ""


def two_way(table: PairTable, *, anonymous: bool = False, draws: int = DRAWS, seed: int = 0) -> TwoWay:
    """The two-way bootstrap of D from five readers on, and D without each reader.

    Args:
        anonymous: reader K is not the same person in every case: there is no reader to draw or to leave out.
    """
    observed = table.patient_differences()
    mean = float(observed.mean()) if len(observed) else np.nan
    readers = len(table.raters)
    rule = TWO_WAY_RULE if readers >= MIN_RATERS else RANGE_RULE
    if anonymous or readers < 3:
        reason = "the readers are anonymous" if anonymous else "fewer than three readers"
        return TwoWay(mean, None, {}, None, len(observed), readers, 0, rule, reason)
    without = {rater: _mean(table.without(rater).patient_differences()) for rater in table.raters}
    known = [value for value in without.values() if not np.isnan(value)]
    spread = (min(known), max(known)) if known else None
    drawn: FloatArray = np.zeros(0)
    if readers >= MIN_RATERS and len(observed) > 1:
        drawn = two_way_draws(table, draws, seed)
        drawn = drawn[~np.isnan(drawn)]
    interval = percentile_bounds(drawn) if len(drawn) else None
    return TwoWay(mean, interval, without, spread, len(observed), readers, len(drawn), rule)


def two_way_draws(table: PairTable, draws: int, seed: int) -> FloatArray:
    """D (B,) of drawn patients read by drawn readers; NaN where a draw holds no pair of different readers."""
    first, second = np.triu_indices(len(table.raters), 1)
    times = np.concatenate(list(draw_counts(len(table.raters), draws, seed)))
    model = _weighted(times, table.model)
    human = _weighted(times[:, first] * times[:, second], table.human[:, first, second])
    places = {patient: place for place, patient in enumerate(dict.fromkeys(table.patients))}
    owner = np.array([places[patient] for patient in table.patients], dtype=np.int64)
    per_patient = _by_patient(model - human, owner, len(places))
    weights = np.concatenate(list(draw_counts(len(places), draws, seed + 1)))
    weights = np.where(np.isnan(per_patient), 0.0, weights)
    total = weights.sum(axis=1)
    sums = (weights * np.nan_to_num(per_patient)).sum(axis=1)
    return np.where(total > 0, sums / np.maximum(total, 1.0), np.nan)


def _weighted(weights: FloatArray, values: FloatArray) -> FloatArray:
    """Means (B, N) of the rows of (N, K) with weights (B, K) over what is not NaN; NaN without weight."""
    known = ~np.isnan(values)
    total = weights @ known.T.astype(np.float64)
    sums = weights @ np.where(known, values, 0.0).T
    return np.where(total > 0, sums / np.where(total > 0, total, 1.0), np.nan)


def _by_patient(values: FloatArray, owner: IntArray, patients: int) -> FloatArray:
    """Patient means (B, P) of case values (B, N) over what is not NaN."""
    member = (owner[:, None] == np.arange(patients)).astype(np.float64)
    known = ~np.isnan(values)
    count = known.astype(np.float64) @ member
    return np.where(count > 0, (np.nan_to_num(values) @ member) / np.maximum(count, 1.0), np.nan)


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if len(values) else np.nan
