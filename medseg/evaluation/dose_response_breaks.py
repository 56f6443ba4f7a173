"""Where a dose-response curve breaks: the smallest dose that costs more than a margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.evaluation.bootstrap import draw_counts, tail_level
from medseg.evaluation.dose_response import SAMPLING, Json, Key, Responses, Sampling
from medseg.shapes import FloatArray

BREAK_RULE = (
    "A curve breaks where the mean over patients of (Dice at the identity − Dice at the dose) first exceeds the "
    "margin, going from the identity outwards on either side. Between two tested doses the drop is taken as a straight "
    "line (over the logarithm of the dose for factors). Interval, from its end nearer to the identity to the farther "
    "one: the same for patients drawn anew, percentiles; a draw that never breaks counts as beyond the last tested "
    "dose, and an end there is null."
)
FEW_BREAK = "hardly a draw breaks within the tested doses"


@dataclass(frozen=True)
class Side:
    """The doses on one side of the identity, going outwards."""

    name: str
    identity: float
    doses: tuple[float, ...]
    logarithmic: bool

    @property
    def distances(self) -> FloatArray:
        """(D + 1,) from the identity (0, first) to each dose."""
        places = np.array([self.identity, *self.doses], dtype=np.float64)
        places = np.log(places) if self.logarithmic else places
        return np.abs(places - places[0])

    def dose(self, distance: float) -> float | None:
        """The dose at a distance; None for infinity."""
        if not np.isfinite(distance):
            return None
        signed = -distance if self.name == "below" else distance
        return float(self.identity * np.exp(signed)) if self.logarithmic else float(self.identity + signed)


def sides(identity: float, doses: Sequence[float], logarithmic: bool) -> list[Side]:
    """The one or two sides on which doses were tested.

    >>> [(side.name, side.doses) for side in sides(1.0, [0.5, 0.8, 1.2], True)]
    [('below', (0.8, 0.5)), ('above', (1.2,))]
    """
    below = tuple(sorted((dose for dose in doses if dose < identity), reverse=True))
    above = tuple(sorted(dose for dose in doses if dose > identity))
    return [Side(name, identity, kept, logarithmic) for name, kept in (("below", below), ("above", above)) if kept]


def find_break(
    responses: Responses,
    key: Key,
    side: Side,
    *,
    margin: float,
    sampling: Sampling = SAMPLING,
) -> Json:
    """Where the curve of a key breaks on one side, see `BREAK_RULE`.

    `at` and the ends of `ci95` are doses, None for beyond the tested ones; `first_dose` is the first tested dose whose
    drop exceeds the margin.

    Args:
        key: its dose does not count.
        margin: largest drop of the mean that does not matter.
    """
    table = np.stack([responses.drop(key._replace(dose=dose), side.identity) for dose in side.doses], axis=1)
    has = ~np.isnan(table).all(axis=1)
    table = table[has]
    n = len(table)
    entry: Json = {"side": side.name, "tested_to": side.doses[-1], "at": None, "first_dose": None, "ci95": None,
                   "n_patients": n}  # fmt: skip
    if n:
        at, first = crossings(_means(np.ones((1, n)), table), side.distances, margin)
        broken = first[0] >= 0
        entry |= {"at": side.dose(at[0]), "first_dose": side.doses[first[0]] if broken else None}
    if n < 2:
        return entry | {"no_interval": "fewer than two patients"}
    return entry | _interval(table, side, margin, sampling)


def _interval(table: FloatArray, side: Side, margin: float, sampling: Sampling) -> Json:
    n = len(table)
    drawn = np.concatenate([
        crossings(_means(counts, table), side.distances, margin)[0]
        for counts in draw_counts(n, sampling.draws, sampling.seed)
    ])  # fmt: skip
    tail = tail_level(n)
    # drawn values themselves: between a number and infinity there is no middle
    low, high = np.quantile(drawn, [tail, 1 - tail], method="inverted_cdf")
    share = float(np.mean(np.isfinite(drawn)))
    if not np.isfinite(low):
        return {"share_of_draws": share, "no_interval": FEW_BREAK}
    return {"share_of_draws": share, "ci95": [side.dose(low), side.dose(high)]}


def _means(counts: FloatArray, table: FloatArray) -> FloatArray:
    """Means (B, D) of drops (P, D) over drawn patients that have one; NaN where a draw has none."""
    known = ~np.isnan(table)
    total = counts @ known.astype(np.float64)
    return np.divide(counts @ np.nan_to_num(table), total, out=np.full(total.shape, np.nan), where=total > 0)


def crossings(drops: FloatArray, distances: FloatArray, margin: float) -> tuple[FloatArray, FloatArray]:
    """For each row of mean drops (B, D): the distance at which it first exceeds the margin, and the index of that dose.

    Infinity and -1 where it never does.

    Args:
        distances: (D + 1,) from the identity, which comes first and has a drop of 0.

    >>> at, first = crossings(np.array([[0.0, 0.1]]), np.array([0.0, 10.0, 20.0]), 0.05)
    >>> at.tolist(), first.tolist()
    ([15.0], [1])
    """
    over = np.nan_to_num(drops, nan=-np.inf) > margin
    first = np.where(over.any(axis=1), over.argmax(axis=1), -1)
    padded = np.concatenate([np.zeros((len(drops), 1)), np.nan_to_num(drops)], axis=1)
    rows, outer = np.arange(len(drops)), first.clip(0)
    before, after = padded[rows, outer], padded[rows, outer + 1]
    rise = np.where(after > before, after - before, 1.0)
    share = np.clip((margin - before) / rise, 0, 1)
    at = distances[outer] + (distances[outer + 1] - distances[outer]) * share
    return np.where(first >= 0, at, np.inf), first
