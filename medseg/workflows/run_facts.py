"""What the files of a run folder say about it, read without PyTorch; damage is a finding and no error."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medseg.config import read_yaml
from medseg.errors import MedsegError
from medseg.training.logbook import read_log
from medseg.workflows.run_lock import is_locked

State = Literal["finished", "running", "stopped", "failed", "damaged"]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Validation:
    """A validation of a run: mean Dice by structure, their mean, and Dice by case and structure (empty in old runs)."""

    step: int
    mean: float
    dice: Mapping[str, float]
    cases: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class RunFacts:
    """A run folder as far as it can be read.

    Args:
        recipe: as plain data; empty when it cannot be read.
        told: what `run.json` holds; empty when it cannot be read.
        rows: of the log.
        saved: step of the last checkpoint; None without one.
        running: whether a training holds the folder.
        problem: what cannot be read, in words; else empty.
    """

    folder: Path
    recipe: dict[str, Any]
    told: dict[str, Any]
    rows: Sequence[Row]
    saved: int | None
    running: bool
    problem: str

    @property
    def course(self) -> Mapping[str, Any]:
        """State, step and seconds as the training noted them; empty in runs of older versions."""
        training = self.told.get("training")
        return training if isinstance(training, Mapping) else {}

    @property
    def steps(self) -> int | None:
        """Optimiser steps that the recipe asks for."""
        training = self.recipe.get("training")
        steps = training.get("steps") if isinstance(training, Mapping) else None
        return steps if isinstance(steps, int) else None

    @property
    def step(self) -> int:
        """Steps that are done and saved; of a run without a checkpoint, those of its log."""
        return self.saved if self.saved is not None else max((row["step"] for row in self.rows), default=0)

    @property
    def state(self) -> State:
        if self.problem:
            return "damaged"
        noted = self.course.get("state")
        if noted in ("finished", "stopped", "failed"):
            return noted
        if self.running:
            return "running"
        return "finished" if not noted and self.saved is not None and self.saved == self.steps else "stopped"

    @property
    def seconds(self) -> float:
        """Time that training took, with validations and with what was lost; of old runs, the time of the log's rows."""
        if _is_number(self.course.get("seconds")):
            return float(self.course["seconds"])
        return round(sum(row["seconds"] for row in self.rows if _is_number(row.get("seconds"))), 2)

    @property
    def validations(self) -> list[Validation]:
        """Those of the log, in its order."""
        return [
            Validation(row["step"], float(row["mean_dice"]), row["validation_dice"], row.get("cases") or {})
            for row in self.rows
            if _is_number(row.get("mean_dice")) and isinstance(row.get("validation_dice"), Mapping)
        ]

    @property
    def best(self) -> Validation | None:
        """The validation of highest mean Dice, the first of equal ones."""
        return max(self.validations, key=lambda each: each.mean, default=None)

    @property
    def last(self) -> Validation | None:
        return self.validations[-1] if self.validations else None


def read_facts(folder: Path) -> RunFacts:
    """What the files of a run folder say; a damaged or missing one is named in `problem`."""
    problems: list[str] = []
    recipe = _read_recipe(folder / "recipe.yaml", problems)
    told = _read_json(folder / "run.json", problems)
    rows = _read_rows(folder / "log.jsonl", problems)
    return RunFacts(folder, recipe, told, rows, _read_saved(folder / "checkpoints", problems), is_locked(folder),
                    "; ".join(problems))  # fmt: skip


def _read_recipe(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(read_yaml(path)))  # plain data, without what the YAML reader remembers
    except (MedsegError, TypeError, ValueError):
        problems.append(_unreadable(path))
        return {}


def _read_json(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        problems.append(_unreadable(path))
        return {}
    return found


def _read_rows(path: Path, problems: list[str]) -> list[Row]:
    """The rows of the log; a run that was stopped before its first step has none."""
    if not path.exists():
        return []
    try:
        rows = read_log(path)
    except (OSError, ValueError):
        problems.append(_unreadable(path))
        return []
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("step"), int)]


def _read_saved(folder: Path, problems: list[str]) -> int | None:
    """The step of the last checkpoint, whose file must be as long as its header says."""
    if not (folder / "last.safetensors").exists() and not (folder / "last.json").exists():
        return None
    step = _header_step(folder / "last.safetensors")
    if step is None:
        problems.append(_unreadable(folder / "last.safetensors"))
    return step


def _header_step(path: Path) -> int | None:
    """The step in a checkpoint's header; None when it is missing, cut short or no checkpoint."""
    try:
        with open(path, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(length, 2**26)))
        facts = json.loads(header["__metadata__"]["medseg"])
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        whole = path.stat().st_size == 8 + length + max(ends, default=0)
        return int(facts["step"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _unreadable(path: Path) -> str:
    return f"{path.name} {'cannot be read' if path.exists() else 'is missing'}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
