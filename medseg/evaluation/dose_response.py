"""Dose-response curves: mean Dice over patients at every dose, and how two models differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from medseg.evaluation.dose_response_scores import ALL, EXPERTS, TRUTH, UNTRANSFORMED
from medseg.evaluation.statistics import DRAWS, Interval, mean_intervals
from medseg.shapes import FloatArray

Json = dict[str, Any]


class Line(NamedTuple):
    """One line of `invariance.csv`; `dice` is None where the case is not counted."""

    case: str
    patient: str
    transform: str
    dose: float
    label: str
    reference: str
    dice: float | None


class Key(NamedTuple):
    """What a column of patients is about."""

    transform: str
    dose: float
    label: str
    reference: str


@dataclass(frozen=True, eq=False)
class Responses:
    """Dice of every patient (P,) for every key, NaN where a patient has none; `cases` counts the cases behind it."""

    patients: tuple[str, ...]
    columns: Mapping[Key, FloatArray]
    cases: Mapping[Key, int]

    def column(self, key: Key) -> FloatArray:
        """Dice (P,); NaN throughout for a key that never occurs."""
        return self.columns.get(key, np.full(len(self.patients), np.nan))

    def drop(self, key: Key, identity: float) -> FloatArray:
        """Dice at the identity minus Dice at the dose (P,)."""
        return self.column(key._replace(dose=identity)) - self.column(key)


@dataclass(frozen=True)
class Sampling:
    """The bootstrap: how many draws of the patients, and their seed."""

    draws: int = DRAWS
    seed: int = 0


SAMPLING = Sampling()


def build_responses(lines: Iterable[Line], raters: Sequence[str]) -> Responses:
    """Patient means of every structure and reference, with `experts` (mean over a case's raters) and `all structures`.

    A case's mean over its structures leaves out those that are not counted in it.
    """
    cells: dict[tuple[str, Key], list[float]] = {}
    patient_of: dict[str, str] = {}
    for line in lines:
        patient_of[line.case] = line.patient
        if line.dice is None:
            continue
        names = (line.reference, EXPERTS) if line.reference in raters else (line.reference,)
        for name in names:
            cells.setdefault((line.case, Key(line.transform, line.dose, line.label, name)), []).append(line.dice)
    single = {cell: float(np.mean(values)) for cell, values in cells.items()}
    together: dict[tuple[str, Key], list[float]] = {}
    for (case, key), value in single.items():
        together.setdefault((case, key._replace(label=ALL)), []).append(value)
    single |= {cell: float(np.mean(values)) for cell, values in together.items()}
    return _by_patient(single, patient_of)


def _by_patient(single: Mapping[tuple[str, Key], float], patient_of: Mapping[str, str]) -> Responses:
    patients = tuple(dict.fromkeys(patient_of.values()))
    place = {patient: number for number, patient in enumerate(patients)}
    sums: dict[Key, FloatArray] = {}
    counts: dict[Key, FloatArray] = {}
    for (case, key), value in single.items():
        row = place[patient_of[case]]
        sums.setdefault(key, np.zeros(len(patients)))[row] += value
        counts.setdefault(key, np.zeros(len(patients)))[row] += 1
    columns = {
        key: np.divide(total, counts[key], out=np.full(len(patients), np.nan), where=counts[key] > 0)
        for key, total in sums.items()
    }
    return Responses(patients, columns, {key: int(count.sum()) for key, count in counts.items()})


def curves(
    responses: Responses, doses: Mapping[str, Sequence[float]], identity: Mapping[str, float], sampling: Sampling
) -> Json:
    """For each transform, structure and reference the points of its curve, in rising order of the dose.

    Args:
        doses: of every transform, the identity among them.

    A point holds the mean with its interval, the drop from the identity with its paired interval, the number of cases
    and of patients; against the untransformed prediction also the equivariance error, 1 - Dice.
    """
    keys = [key for key in responses.columns if key.transform in doses]
    values = _intervals([responses.column(key) for key in keys], sampling, (0.0, 1.0))
    falls = [responses.drop(key, identity[key.transform]) for key in keys]
    drops = _intervals(falls, sampling, (-1.0, 1.0))
    points = {key: _point(key, value, drop, responses.cases[key])
              for key, value, drop in zip(keys, values, drops, strict=True)}  # fmt: skip
    found: Json = {}
    for key in sorted(points, key=lambda key: (list(doses).index(key.transform), key.dose)):
        of_label = found.setdefault(key.transform, {}).setdefault(key.label, {})
        of_label.setdefault(key.reference, []).append(points[key])
    return found


def _point(key: Key, value: Interval, drop: Interval, cases: int) -> Json:
    point: Json = {"dose": key.dose, "mean": value.mean, "ci95": value.ci95,
                   "drop": {"mean": drop.mean, "ci95": drop.ci95}, "n": cases, "n_patients": value.n}  # fmt: skip
    if value.ci95 is None:
        point["no_interval"] = value.method.removeprefix("none: ")
    if key.reference == UNTRANSFORMED:
        point["equivariance_error"] = 1 - value.mean
    return point


def compare(
    ours: Responses, theirs: Responses, key: Key, doses: Sequence[float], sampling: Sampling = SAMPLING
) -> Json:
    """Ours minus theirs on the same patients: at each dose, and over the doses other than the identity.

    Args:
        key: its dose is the identity.
        doses: all of the transform.

    Positive: our Dice is higher. `mean_over_doses` weighs every tested dose alike, over patients who have all of
    them; `mean_drop` is the same of the drop from each model's own identity (negative: ours loses less).
    """
    order = [theirs.patients.index(patient) for patient in ours.patients if patient in theirs.patients]
    kept = [row for row, patient in enumerate(ours.patients) if patient in theirs.patients]
    pairs = {dose: (ours.column(key._replace(dose=dose))[kept], theirs.column(key._replace(dose=dose))[order])
             for dose in doses}  # fmt: skip
    away = [dose for dose in doses if dose != key.dose]
    means = [np.mean([pairs[dose][side] for dose in away], axis=0) for side in (0, 1)] if away else []
    drops = [pairs[key.dose][side] - means[side] for side in (0, 1)] if away else []
    columns = [*pairs.values(), *([tuple(means), tuple(drops)] if away else [])]
    differences = [a - b for a, b in columns]
    intervals = _intervals(differences, sampling, (-1.0, 1.0))
    found: Json = {"doses": [{"dose": dose, **_difference(pair, interval)}
                             for dose, pair, interval in zip(pairs, columns, intervals, strict=False)]}  # fmt: skip
    for name, place in (("mean_over_doses", -2), ("mean_drop", -1)) if away else ():
        found[name] = _difference(columns[place], intervals[place])
    return found


def _difference(pair: Sequence[FloatArray], interval: Interval) -> Json:
    both = ~np.isnan(pair[0]) & ~np.isnan(pair[1])
    ours, theirs = (float(side[both].mean()) if both.any() else float("nan") for side in pair)
    entry: Json = {"ours": ours, "theirs": theirs, "difference": interval.mean, "ci95": interval.ci95,
                   "n_patients": interval.n}  # fmt: skip
    return entry if interval.ci95 else entry | {"no_interval": interval.method.removeprefix("none: ")}


def _intervals(columns: Sequence[FloatArray], sampling: Sampling, bounds: tuple[float, float]) -> list[Interval]:
    if not columns:
        return []
    return mean_intervals(np.stack(columns, axis=1), draws=sampling.draws, seed=sampling.seed,
                          bounds=[bounds] * len(columns))  # fmt: skip


def main_reference(references: Iterable[str]) -> str:
    """What accuracy is measured against: the truth where there is one, else the experts, else the model itself."""
    names = set(references)
    return next((name for name in (TRUTH, EXPERTS) if name in names), UNTRANSFORMED)
