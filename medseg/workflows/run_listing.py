"""`medseg runs`: what runs have reached, and the settings in which they differ; needs no PyTorch."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any, Literal

from medseg.errors import FileReadError, UsageError
from medseg.workflows.run_facts import RunFacts, State, read_facts
from medseg.workflows.run_settings import differing_settings

SCHEMA = "medseg.runs/1"
SIGNS = ("run.json", "recipe.yaml", "log.jsonl")  # a folder that holds one of them is a run, however damaged
DEEPEST = 4  # folders below the one that is named
Sort = Literal["name", "best", "last", "steps", "time"]


@dataclass(frozen=True)
class RunRow:
    """A run, or several folds of one.

    Args:
        name: the folder, as it was found.
        folds: the runs of the folds by name; empty for a run of its own. Dice is then the mean over those that have
            one, steps and time the sums.
        differs: settings in which the listed runs differ.
        problem: what cannot be read, else empty.
    """

    name: str
    state: State
    step: int
    steps: int | None
    best_dice: float | None
    last_dice: float | None
    seconds: float
    dice: dict[str, float] = field(default_factory=dict)
    folds: tuple[RunRow, ...] = ()
    differs: dict[str, str] = field(default_factory=dict)
    problem: str = ""

    def record(self) -> dict[str, Any]:
        """The row as plain data."""
        folds = {"folds": [fold.record() for fold in self.folds]} if self.folds else {}
        return {
            "run": self.name, "state": self.state, "step": self.step, "steps": self.steps,
            "best_dice": self.best_dice, "last_dice": self.last_dice, "dice": self.dice, "seconds": self.seconds,
            "differs": self.differs, "problem": self.problem, **folds,
        }  # fmt: skip


@dataclass(frozen=True)
class RunTable:
    """Runs beside each other; in a notebook it shows itself as a table."""

    rows: tuple[RunRow, ...]

    def records(self) -> list[dict[str, Any]]:
        """A flat dictionary for each run, as pandas takes them."""
        return [
            {key: value for key, value in row.record().items() if key not in ("differs", "dice", "folds")} | row.differs
            for row in self.rows
        ]

    def to_json(self) -> str:
        """Everything that is known as JSON text, schema `medseg.runs/1`."""
        return json.dumps({"schema": SCHEMA, "runs": [row.record() for row in self.rows]}, indent=1)

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Column names and rows of text: what the runs have reached; folds stand below their run."""
        body = []
        for number, (row, name) in enumerate(zip(self.rows, _short_names(self.rows), strict=True), 1):
            body.append([str(number), *_cells(row, name)])
            body += [["", *_cells(fold, f"  {Path(fold.name).name}")] for fold in row.folds]
        return ["", "run", "state", "step", "best Dice", "last Dice", "time"], body

    def settings(self) -> tuple[list[str], list[list[str]]]:
        """Column names and rows of text: the settings that differ, one row each, under the numbers of the runs."""
        names = list(dict.fromkeys(key for row in self.rows for key in row.differs))
        head = ["setting", *(str(number) for number, _ in enumerate(self.rows, 1))]
        return head, [[name, *(row.differs.get(name, "-") for row in self.rows)] for name in names]

    def _repr_html_(self) -> str:
        return "".join(_html(head, body) for head, body in (self.cells(), self.settings()) if body)


def _html(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = ["".join(f"<th>{escape(text)}</th>" for text in head)]
    lines += ["".join(f"<td>{escape(text)}</td>" for text in row) for row in body]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _short_names(rows: Sequence[RunRow]) -> list[str]:
    """The folders below the one that holds all of them; of a single run its own name."""
    paths = [Path(row.name).absolute() for row in rows]
    try:
        above = Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:  # several drives
        return [row.name for row in rows]
    return [str(path.relative_to(above)) for path in paths]


def runs(paths: str | Path | Sequence[str | Path], *, sort: Sort = "name") -> RunTable:
    """What runs have reached and in what they differ.

    Args:
        paths: run folders, or folders that hold some (up to four levels below); `fold_<k>` are grouped.
        sort: `name`; `best` or `last` Dice, the highest first; `steps` or `time`, the longest first.

    Raises:
        FileReadError: a folder is missing or holds no run.
        UsageError: no such order.
    """
    keys: dict[str, Callable[[RunRow], Any]] = {
        "name": lambda row: row.name,
        "best": lambda row: _falling(row.best_dice),
        "last": lambda row: _falling(row.last_dice),
        "steps": lambda row: -row.step,
        "time": lambda row: -row.seconds,
    }
    if sort not in keys:
        raise UsageError("no such order", where="--sort", expected=", ".join(keys), got=sort)
    given = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    folders = list(dict.fromkeys(folder for path in given for folder in find_runs(path)))
    groups: dict[Path, list[RunFacts]] = {}
    for folder in folders:
        groups.setdefault(folder.parent if folder.name.startswith("fold_") else folder, []).append(read_facts(folder))
    differs = differing_settings([_without_fold(group[0]) for group in groups.values()])
    rows = [_row(folder, group, each) for (folder, group), each in zip(groups.items(), differs, strict=True)]
    return RunTable(tuple(sorted(rows, key=keys[sort])))


def find_runs(path: Path) -> list[Path]:
    """The run folder itself, or the run folders below; sorted by name.

    Raises:
        FileReadError: there is none.
    """
    found = sorted(_below(path, DEEPEST)) if path.is_dir() else []
    if not found:
        raise FileReadError("no run here", where=path.name or str(path), do="Name a folder that `medseg train` wrote.")
    return found


def _below(folder: Path, depth: int) -> Iterator[Path]:
    if any((folder / sign).is_file() for sign in SIGNS):
        yield folder
    elif depth:
        for inner in folder.iterdir():
            if inner.is_dir() and not inner.is_symlink() and not inner.name.startswith("."):
                yield from _below(inner, depth - 1)


def _without_fold(facts: RunFacts) -> dict[str, Any]:
    """The recipe without the number of its fold where it is one of several."""
    if not facts.folder.name.startswith("fold_") or not isinstance(facts.recipe.get("folds"), dict):
        return facts.recipe
    return facts.recipe | {"folds": {key: value for key, value in facts.recipe["folds"].items() if key != "fold"}}


def _row(folder: Path, group: Sequence[RunFacts], differs: dict[str, str]) -> RunRow:
    single = [_single(facts) for facts in group]
    if group[0].folder == folder:
        return replace(single[0], differs=differs)
    return RunRow(
        name=str(folder),
        state=_together([row.state for row in single]),
        step=sum(row.step for row in single),
        steps=None if any(row.steps is None for row in single) else sum(row.steps or 0 for row in single),
        best_dice=mean_known(row.best_dice for row in single),
        last_dice=mean_known(row.last_dice for row in single),
        seconds=round(sum(row.seconds for row in single), 2),
        dice={name: value for name in _structures(single)
              if (value := mean_known(row.dice.get(name) for row in single)) is not None},
        folds=tuple(single),
        differs=differs,
        problem="; ".join(f"{Path(row.name).name}: {row.problem}" for row in single if row.problem),
    )  # fmt: skip


def _single(facts: RunFacts) -> RunRow:
    best, last = facts.best, facts.last
    return RunRow(
        name=str(facts.folder),
        state=facts.state,
        step=facts.step,
        steps=facts.steps,
        best_dice=best.mean if best else None,
        last_dice=last.mean if last else None,
        seconds=facts.seconds,
        dice=dict(best.dice) if best else {},
        problem=facts.problem,
    )


def _structures(rows: Iterable[RunRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.dice))


def _together(states: Sequence[State]) -> State:
    """The state of several folds: the one that asks for most attention."""
    order: tuple[State, ...] = ("damaged", "failed", "running", "stopped", "finished")
    return next(state for state in order if state in states)


def mean_known(values: Iterable[float | None]) -> float | None:
    """The mean of those that are known; None when none is.

    >>> mean_known([0.5, None, 1.0]), mean_known([None])
    (0.75, None)
    """
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 5) if known else None


def _falling(value: float | None) -> float:
    return float("inf") if value is None else -value


def _cells(row: RunRow, name: str) -> list[str]:
    steps = "?" if row.steps is None else str(row.steps)
    state = row.state + (f" ({row.problem})" if row.problem and not row.folds else "")
    if row.folds:
        state += f", {len(row.folds)} fold{'s' if len(row.folds) > 1 else ''}"
    return [name, state, f"{row.step}/{steps}", _dice(row.best_dice), _dice(row.last_dice), duration(row.seconds)]


def _dice(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> duration(59.6), duration(3725)
    ('0:01:00', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
