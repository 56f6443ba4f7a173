"""Whether twice the cases take twice the time, and two workers half of it: rows of `evaluation.py`.

Cases are small and many, read from disk and scored (ten pairs, five organs) with one thread each. Workers are timed
from the moment when all of them have given a result: starting them (some seconds, Ray more) is no part of a rate.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import evaluation_inputs as inputs
from io_rows import FAILURES, Comparison, Effort, Row, measure

from medseg.errors import MedsegError
from medseg.evaluation.scoring import PairScore, score_case
from medseg.io.nifti import write_labels
from medseg.shapes import IntTriple
from medseg.workflows.fleet import SERIAL, Fleet, ready
from medseg.workflows.fleet_outcomes import Outcome, results_of
from medseg.workflows.readings import Readings, folder_readings

SHAPE, CASES = (256, 256, 96), 32
QUICK_SHAPE, QUICK_CASES = (96, 96, 40), 8
WORKERS = 2
IN_CASES, OVER_CORES, OVER_RAY = "linear_in_cases", "two_processes_vs_one", "two_ray_workers_vs_one"
LEAST = {IN_CASES: 0.8, OVER_CORES: 1.6, OVER_RAY: 1.6}


@dataclass(frozen=True)
class Scorer:
    """Reads and scores one case, and says which process did it."""

    readings: Readings

    def __call__(self, case: str) -> tuple[int, list[PairScore]]:
        return os.getpid(), score_case(self.readings.read(case).readings, threads=1)


@contextmanager
def study(cases: int, shape: IntTriple) -> Iterator[Readings]:
    """Cases in files: four different ones under many names, because drawing them takes longer than scoring them."""
    with TemporaryDirectory(prefix="medseg-scaling-") as folder:
        for k in range(4):
            for name, reading in inputs.readings(inputs.NAMES, shape, seed=k).items():
                place = Path(folder, "M" if name == "M" else f"raters/{name}")
                write_labels(place / f"c{k:03}.nii.gz", reading.labels, reading.geometry)
                for other in range(k + 4, cases, 4):
                    os.link(place / f"c{k:03}.nii.gz", place / f"c{other:03}.nii.gz")
        yield folder_readings(Path(folder, "raters"), Path(folder, "M"))


def seconds_per_case(fleet: Fleet, readings: Readings) -> float:
    """Seconds that the fleet takes for a case, once all of its workers are at work."""
    stamps: list[float] = []
    workers: list[int] = []

    def stamp(outcome: Outcome[str, tuple[int, Any]], _done: int, _total: int) -> None:
        stamps.append(time.perf_counter())
        workers.append(outcome.result[0] if outcome.result else 0)

    results_of(fleet.map(ready(Scorer(readings)), list(readings.cases), on_done=stamp))
    first = next(k for k in range(len(workers)) if len(set(workers[: k + 1])) == len(set(workers)))
    if len(set(workers)) < fleet.most or first > len(workers) // 2:
        raise RuntimeError("a worker began too late to be timed")
    return (stamps[-1] - stamps[first]) / (len(stamps) - 1 - first)


def linear_in_cases(readings: Readings) -> Comparison:
    """All cases against a quarter of them, times four."""
    few = list(readings.cases)[: len(readings.cases) // 4]

    def scored(cases: list[str]) -> list[list[PairScore]]:
        return [scores for _, scores in results_of(SERIAL.map(ready(Scorer(readings)), cases))]

    return Comparison(
        lambda: scored(list(readings.cases)),
        lambda: scored(few),
        lambda ours, theirs: "" if ours[: len(few)] == theirs else "the same case scored differently",
    )


def over_workers(name: str, fleet: Fleet, readings: Readings, turns: int) -> Row:
    """Seconds per case of the fleet against those of one worker in this process, in turns: medians."""
    ours, alone = [], []
    try:
        for _ in range(turns):
            alone.append(seconds_per_case(SERIAL, readings))
            ours.append(seconds_per_case(fleet, readings))
    except (*FAILURES, MedsegError) as error:
        return Row(name, LEAST[name], reason=f"medseg failed: {error}", failed=True)
    return Row(name, LEAST[name], median(ours), median(alone))


def rows(names: set[str], effort: Effort, *, quick: bool) -> Iterator[Row]:
    """The rows named; all without names."""
    wanted = [name for name in LEAST if not names or name in names]
    if not wanted:
        return
    with study(QUICK_CASES if quick else CASES, QUICK_SHAPE if quick else SHAPE) as readings:
        for name in wanted:
            if name == IN_CASES:
                row = measure(name, LEAST[name], lambda: linear_in_cases(readings), effort)
                yield Row(name, row.target, row.ours, row.peer and row.peer * 4, row.unit, row.reason, row.failed)
            elif name == OVER_RAY and find_spec("ray") is None:
                yield Row(name, LEAST[name], reason="Ray is not installed")
            else:
                ray = "local" if name == OVER_RAY else None
                yield over_workers(name, Fleet(WORKERS, ray), readings, 1 if quick else 3)
