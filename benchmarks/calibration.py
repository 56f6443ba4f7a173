"""Do the intervals and verdicts keep their promises? Simulated studies with a known truth, counted.

    python benchmarks/calibration.py            # 5,000 data sets a row, some minutes on one core
    python benchmarks/calibration.py --quick    # 200 data sets and a fifth of the draws, under a minute
    python benchmarks/calibration.py --json     # one JSON object a line

Promised from 20 patients on for normal and left-skewed differences: intervals that cover the truth in 93 to 97 % and a
model at the margin called non-inferior in at most 3.5 % (nominally 2.5 %). With rare misses nothing is promised, the
coverage is printed. A share of p % out of N sets has a standard error of sqrt(p (100 - p) / N) %: 0.3 at 95 % and 0.22
at 2.5 % for 5,000 sets, so a promise counts as broken when the share misses it by more than two of those.
The exit code is 1 when one is broken.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from calibration_pool import ORGAN, READERS, build_pool, pool_differences
from calibration_sets import SHAPES, draw_differences, draw_reader_as_model
from scipy import stats

from medseg.evaluation.bootstrap import bca_bounds, studentised_bounds
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.planning import noninferiority_power
from medseg.evaluation.presence import GUARD_MARGIN, Presence, presence
from medseg.evaluation.statistics import INTERVAL_RULE, Interval, mean_intervals
from medseg.evaluation.verdict import CLASSES, EQUIVALENT, NON_INFERIOR, classify, guarded
from medseg.shapes import FloatArray, IntArray

PATIENTS, PANELS = (10, 20, 50, 100), (2, 3, 5)
MARGIN = 0.05
PROMISED_FROM, PROMISED = 20, ("normal", "left-skewed")
COVERED, FALSE_CLAIMS = (93.0, 97.0), 3.5
PASSES = (EQUIVALENT, NON_INFERIOR)
Row = dict[str, Any]


def main() -> int:
    """Prints the tables; 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description="Do the intervals and verdicts keep their promises?")
    parser.add_argument("--quick", action="store_true", help="200 data sets a row and 2,000 draws")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args()
    sets, draws, cases = (200, 2000, 100) if options.quick else (5000, 10_000, 400)
    if not options.json:
        print(
            f"{sets:,} data sets a row (half of that for power and phantom experts), {draws:,} draws an interval, "
            f"margin {MARGIN:g}. {INTERVAL_RULE}."
        )
    broken = 0
    tables = {
        "coverage": coverage_rows(sets, draws, options.seed),
        "intervals": interval_rows(sets, draws, options.seed + 1),
        "power": power_rows(sets // 2, draws, options.seed + 2),
        "reader as model": reader_rows(sets, draws, options.seed + 3),
        "phantom experts": pool_rows(cases, sets // 2, draws, options.seed + 4),
    }
    for name, rows in tables.items():
        broken += _print(name, rows, as_json=options.json)
    return int(broken > 0)


def coverage_rows(sets: int, draws: int, seed: int) -> Iterator[Row]:
    """Coverage of the intervals and false claims at the margin, by shape of D, readers and patients."""
    for shape in SHAPES:
        for readers in PANELS:
            for patients in PATIENTS:
                rng = np.random.default_rng([seed, SHAPES.index(shape), readers, patients])
                values, truth = draw_differences(shape, readers, patients, sets, rng)
                intervals = mean_intervals(values, draws=draws, seed=seed)
                row = {"D": shape, "readers": readers, "patients": patients} | _coverage(intervals, truth)
                row["false non-inferior %"] = _share(_classes(intervals, -MARGIN - truth, readers), PASSES)
                row["false equivalent, upper side %"] = _share(
                    _classes(intervals, MARGIN - truth, readers), [EQUIVALENT]
                )
                yield row | {"promise": _promise(row, sets)}


def interval_rows(sets: int, draws: int, seed: int) -> Iterator[Row]:
    """Other intervals on the same data sets: coverage and how often the lower bound lies above the truth."""
    for shape in PROMISED:
        for patients in PATIENTS[1:]:
            rng = np.random.default_rng([seed, SHAPES.index(shape), patients])
            values, truth = draw_differences(shape, 3, patients, sets, rng)
            ours = [interval.ci95 or (np.nan, np.nan) for interval in mean_intervals(values, draws=draws, seed=seed)]
            methods = {
                "medseg": tuple(np.array(ours).T),
                "Student's t": _student(values),
                "bootstrap-t, 2.5 % a side": studentised_bounds(values, draws, seed),
                "BCa, 2.5 % a side": bca_bounds(values, draws, seed),
            }
            for method, (low, high) in methods.items():
                yield {
                    "D": shape,
                    "patients": patients,
                    "interval": method,
                    "coverage %": _percent((low <= truth) & (truth <= high)),
                    "low bound above truth %": _percent(low > truth),
                    "high bound below truth %": _percent(high < truth),
                    "median width": round(float(np.median(high - low)), 4),
                }


def power_rows(sets: int, draws: int, seed: int) -> Iterator[Row]:
    """How often a model within the margin is called non-inferior or equivalent, beside the noncentral t."""
    for shape in PROMISED:
        for difference in (0.0, -MARGIN / 4, -MARGIN / 2, -3 * MARGIN / 4):
            for patients in PATIENTS[1:]:
                rng = np.random.default_rng([seed, SHAPES.index(shape), patients])
                values, truth = draw_differences(shape, 3, patients, sets, rng)
                classes = _classes(mean_intervals(values, draws=draws, seed=seed), difference - truth, 3)
                sd = float(values.std())
                yield {
                    "D": shape,
                    "true difference": round(difference, 4),
                    "sd": round(sd, 3),
                    "patients": patients,
                    "non-inferior or equivalent %": _share(classes, PASSES),
                    "of t test, expected %": round(100 * noninferiority_power(patients, sd, MARGIN, difference), 1),
                    "equivalent %": _share(classes, [EQUIVALENT]),
                }


def reader_rows(sets: int, draws: int, seed: int) -> Iterator[Row]:
    """One more reader as the model: the mean of D over all sets must be 0."""
    for readers in PANELS:
        for patients in PATIENTS[1:]:
            values = draw_reader_as_model(readers, patients, sets, np.random.default_rng([seed, readers, patients]))
            means = values.mean(axis=0)
            intervals = mean_intervals(values, draws=draws, seed=seed)
            row = {"readers": readers, "patients": patients, "mean D": round(float(means.mean()), 5)}
            row["standard error"] = round(float(means.std(ddof=1) / np.sqrt(sets)), 5)
            row |= _coverage(intervals, 0.0)
            kept = abs(means.mean()) <= 4 * means.std(ddof=1) / np.sqrt(sets)
            yield row | {"promise": "kept" if kept else "BROKEN"}


def pool_rows(cases: int, sets: int, draws: int, seed: int) -> Iterator[Row]:
    """Models beside simulated experts: the class that the whole pool deserves, and those that drawn studies get."""
    pool = build_pool(cases, seed)
    for model, differences in pool_differences(pool).items():
        guard = Guard(pool, model)
        population = float(differences.mean())
        whole = Interval(population, (population, population), "", float(differences.std()), cases)
        deserved = guard.lower(classify(whole, MARGIN, len(READERS))[0], np.arange(cases))
        for patients in PATIENTS[1:]:
            drawn = np.random.default_rng([seed, patients]).integers(0, cases, size=(patients, sets))
            intervals = mean_intervals(differences[drawn], draws=draws, seed=seed, bounds=[(-1.0, 1.0)] * sets)
            got = [
                guard.lower(classify(interval, MARGIN, len(READERS))[0], places)
                for interval, places in zip(intervals, drawn.T, strict=True)
            ]
            row: Row = {"model": model, "D of the pool": round(population, 4), "deserves": deserved}
            row |= {"patients": patients} | _coverage(intervals, population)
            yield row | {f"{name} %": _share(got, [name]) for name in CLASSES}


class Guard:
    """The guard on misses and false positives of a model in drawn cases, each place of a draw being a patient."""

    def __init__(self, pool: Sequence[CaseScores], model: str) -> None:
        self.pool, self.model = pool, model
        self._eventful = np.array([not all(case.presence(ORGAN, [*READERS, model]).values()) for case in pool])
        self._quiet: dict[int, Presence] = {}

    def lower(self, found: str, places: IntArray) -> str:
        """The class after the guard."""
        return guarded(found, self._presence(places), GUARD_MARGIN)[0] if found in PASSES else found

    def _presence(self, places: IntArray) -> Presence:
        if self._eventful[places].any():
            return self._count(places)
        if len(places) not in self._quiet:  # where nobody missed anything only the number of patients counts
            self._quiet[len(places)] = self._count(places)
        return self._quiet[len(places)]

    def _count(self, places: IntArray) -> Presence:
        cases = [replace(self.pool[index], patient=f"p{place}") for place, index in enumerate(places)]
        return presence(cases, ORGAN, READERS, self.model, draws=500)


def _coverage(intervals: Sequence[Interval], truth: float) -> Row:
    known = [interval.ci95 or (np.nan, np.nan) for interval in intervals]
    low, high = np.array(known).T
    return {
        "coverage %": _percent((low <= truth) & (truth <= high)),
        "low bound above truth %": _percent(low > truth),
        "high bound below truth %": _percent(high < truth),
        "no interval %": _percent(np.isnan(low)),
    }


def _classes(intervals: Sequence[Interval], move: float, readers: int) -> list[str]:
    """The classes when every D were larger by `move`."""
    moved = [
        replace(i, mean=i.mean + move, ci95=None if i.ci95 is None else (i.ci95[0] + move, i.ci95[1] + move))
        for i in intervals
    ]
    return [classify(interval, MARGIN, readers)[0] for interval in moved]


def _promise(row: Row, sets: int) -> str:
    if row["D"] not in PROMISED or row["patients"] < PROMISED_FROM:
        return "none"

    def slack(share: float) -> float:
        return 2 * float(np.sqrt(share * (100 - share) / sets))

    low, high = COVERED
    kept = low - slack(low) <= row["coverage %"] <= high + slack(high)
    claims = max(row["false non-inferior %"], row["false equivalent, upper side %"])
    return "kept" if kept and claims <= FALSE_CLAIMS + slack(FALSE_CLAIMS) else "BROKEN"


def _student(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    n = len(values)
    half = stats.t.ppf(0.975, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
    return values.mean(axis=0) - half, values.mean(axis=0) + half


def _share(found: Sequence[str], wanted: Sequence[str]) -> float:
    return _percent(np.isin(found, wanted))


def _percent(hits: Any) -> float:
    return round(100 * float(np.mean(hits)), 2)


def _print(name: str, rows: Iterator[Row], *, as_json: bool) -> int:
    """Prints one table as it is made and returns how many promises in it are broken."""
    broken = 0
    for place, row in enumerate(rows):
        broken += row.get("promise") == "BROKEN"
        if as_json:
            print(json.dumps({"table": name} | row), flush=True)
            continue
        if not place:
            print(f"\n### {name}\n\n| {' | '.join(row)} |\n{'|---' * len(row)}|")
        print("| " + " | ".join(str(value) for value in row.values()) + " |", flush=True)
    return broken


if __name__ == "__main__":
    sys.exit(main())
