"""Dice of every test case of the runs of `training_dice.py`, and what the difference between two sides is worth."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.evaluation.overlap import dice
from medseg.evaluation.statistics import Interval, mean_interval
from medseg.files import write_text
from medseg.imaging.labels import LabelSet
from medseg.io.manifest import read_dataset
from medseg.io.nifti import read_label_values
from medseg.shapes import FloatArray

Table = dict[str, dict[str, float]]  # case, structure: Dice; a structure that nobody marked in a case is left out
BAR, WANTED = -0.01, 0.0  # least lower bound of the interval of ours - peer


@dataclass(frozen=True)
class Verdict:
    """Two sides on the same test cases, the seeds of a case averaged first.

    Args:
        structures: over which a case's Dice is averaged: `all`, or `without sides` (left and right left out).
        difference: ours - peer, a mean over patients with its bootstrap interval.
    """

    study: str
    ours_name: str
    peer_name: str
    structures: str
    steps: int
    seeds: tuple[int, ...]
    ours: float
    peer: float
    difference: Interval

    @property
    def state(self) -> str:
        """`above 0`, `above -0.01`, `unresolved` where the interval holds the bar, else `worse`."""
        low, high = self.difference.ci95 or (float("nan"), float("nan"))
        if low > WANTED:
            return "above 0"
        if low > BAR:
            return "above -0.01"
        return "worse" if high <= BAR else "unresolved"

    def as_json(self) -> dict[str, Any]:
        low, high = self.difference.ci95 or (None, None)
        return {
            "name": f"{self.study}_dice_{self.ours_name}_vs_{self.peer_name}_{self.structures.replace(' ', '_')}",
            "ours": round(self.ours, 4), "peer": round(self.peer, 4), "difference": round(self.difference.mean, 4),
            "low": low, "high": high, "patients": self.difference.n, "seeds": list(self.seeds), "steps": self.steps,
            "target": BAR, "met": self.state.startswith("above"), "state": self.state,
        }  # fmt: skip

    def as_text(self) -> str:
        low, high = self.difference.ci95 or (float("nan"), float("nan"))
        seeds = ", ".join(map(str, self.seeds))
        difference = f"{self.difference.mean:+.3f} ({low:+.3f} to {high:+.3f})"
        cells = (self.study, self.ours_name, self.peer_name, self.structures, seeds, self.difference.n,
                 f"{self.ours:.3f}", f"{self.peer:.3f}", difference, self.state)  # fmt: skip
        return f"| {' | '.join(map(str, cells))} |"


def score(dataset: Path, references: Path, predictions: Path) -> Table:
    """Dice of every reference's structures, on the case's own grid."""
    labels = read_dataset(dataset).labels
    table = {}
    for path in sorted(references.glob("*.nii.gz")):
        case = path.name.removesuffix(".nii.gz")
        reference, _ = read_label_values(path, where=case)
        prediction, _ = read_label_values(predictions / path.name, where=case)
        table[case] = _of_case(reference, prediction, labels)
    return table


def _of_case(reference: Any, prediction: Any, labels: LabelSet) -> dict[str, float]:
    found = {
        name: dice(reference == labels.values[name], prediction == labels.values[name]) for name in labels.foreground
    }
    return {name: value for name, value in found.items() if not np.isnan(value)}


def path_of(work: Path, study: str, side: str, steps: int, seed: int) -> Path:
    """The file of a finished run's scores."""
    return work / "scores" / f"{study}-{side}-{steps}-{seed}.json"


def write(path: Path, table: Table, seconds: Mapping[str, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"dice": table, **seconds}, indent=1) + "\n")


def read(path: Path) -> Table:
    return json.loads(path.read_text(encoding="utf-8"))["dice"]


def verdicts(
    work: Path, study: str, ours: str, peer: str, steps: int, seeds: Sequence[int]
) -> Iterator[Verdict]:  # fmt: skip
    """The comparison over the seeds that both sides have finished: all structures, and those without a side."""
    paths = {seed: [path_of(work, study, side, steps, seed) for side in (ours, peer)] for seed in seeds}
    done = tuple(seed for seed in seeds if all(path.exists() for path in paths[seed]))
    if not done:
        return
    tables = [[read(paths[seed][side]) for seed in done] for side in (0, 1)]
    structures = sorted({name for table in tables[1] for case in table.values() for name in case})
    groups = {"all": structures}
    if len(middle := [name for name in structures if not name.endswith(("_left", "_right"))]) < len(structures):
        groups["without sides"] = middle
    for name, group in groups.items():
        a, b = (_case_means(side, group) for side in tables)
        yield Verdict(study, ours, peer, name, steps, done, float(a.mean()), float(b.mean()), mean_interval(a - b))


def _case_means(tables: Sequence[Table], structures: Sequence[str]) -> FloatArray:
    """Mean Dice (N,) of every case over its structures, then over the seeds."""
    cases = sorted(tables[0])
    per_seed = [
        [np.mean([table[case][name] for name in structures if name in table[case]]) for case in cases]
        for table in tables
    ]
    return np.mean(np.array(per_seed, dtype=np.float64), axis=0)
