"""`RUN/report.html`: how a training went, from the files of its folder; needs no PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.errors import FileReadError
from medseg.files import write_text
from medseg.report.run_page import TrainingReport, training_page
from medseg.workflows.run_facts import RunFacts, read_facts
from medseg.workflows.run_listing import find_runs
from medseg.workflows.run_settings import shown_settings
from medseg.workflows.watching_slices import FILE as PICTURES
from medseg.workflows.watching_slices import read_pictures

PAGE = "report.html"


def report_runs(paths: str | Path | Sequence[str | Path], *, images: bool = True) -> list[Path]:
    """Writes `report.html` into each run of these folders and returns where they lie.

    Args:
        paths: run folders, or folders that hold some.
        images: false leaves out the patients' grey values; a run with `tracking.images=false` has none.

    Raises:
        FileReadError: a folder holds no run, or a run is damaged.
    """
    given = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    return [write_report(folder, images=images) for path in given for folder in find_runs(path)]


def write_report(folder: Path, *, images: bool = True) -> Path:
    """Writes `report.html` into a run folder.

    Raises:
        FileReadError: the run is damaged.
    """
    facts = read_facts(folder)
    if facts.problem:
        raise FileReadError(f"the run is damaged: {facts.problem}", where=folder.name)
    page = folder / PAGE
    write_text(page, training_page(_gathered(facts), images=images))
    return page


def _gathered(facts: RunFacts) -> TrainingReport:
    step, slices, labels = read_pictures(facts.folder / PICTURES)
    last = facts.last
    recipe = facts.recipe
    return TrainingReport(
        name=_name(facts.folder),
        state=facts.state,
        step=facts.step,
        steps=facts.steps or facts.step,
        seconds=facts.seconds,
        rows=facts.rows,
        structures=_structures(facts.told),
        folds=[len(fold) for fold in _folds(facts.folder / "folds.json")],
        fold=recipe.get("folds", {}).get("fold", "all"),
        batch=recipe.get("training", {}).get("batch", 1),
        settings=shown_settings(recipe),
        provenance=_provenance(facts.told),
        slices=slices if last is not None and last.step == step else (),  # those of lost work do not count
        labels=labels,
    )


def _name(folder: Path) -> str:
    """The run's name: its folder's, with that of the folder above for one of several folds."""
    folder = folder.resolve()
    return f"{folder.parent.name}, {folder.name}" if folder.name.startswith("fold_") else folder.name


def _structures(told: Mapping[str, Any]) -> list[str]:
    """The foreground classes by value."""
    labels = told.get("labels", {})
    return [name for name in sorted(labels, key=lambda name: labels[name]) if labels[name] != 0]


def _folds(path: Path) -> Sequence[Sequence[str]]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["folds"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileReadError("the folds cannot be read", where=path.name, got=type(error).__name__) from error


def _provenance(told: Mapping[str, Any]) -> dict[str, str]:
    """Versions, seed and grid."""
    plan = told.get("plan", {})
    found = {name: str(version) for name, version in told.get("versions", {}).items()}
    for key in ("spacing_mm", "patch", "window_hu"):
        if key in plan:
            found[f"plan: {key}"] = json.dumps(plan[key])
    return found | {"seed": str(told.get("seed", "not known"))}
