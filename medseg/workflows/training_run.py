"""How a run folder comes to be and is taken up again: folds, plan, recipe, and the cases that it learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from medseg.config import write_config
from medseg.data.folds import draw_folds, split_fold, write_folds
from medseg.data.store import StoredCase
from medseg.errors import ConfigError, InputError, UsageError
from medseg.files import open_output_folder, remove_leftovers
from medseg.imaging.labels import LabelSet
from medseg.workflows.recipe import Recipe, training_transforms
from medseg.workflows.run import Run, open_run, write_run
from medseg.workflows.training_data import TrainingData

Progress = Callable[[str, int, int, str], None]  # what, done, total, note


def new_run(recipe: Recipe, data: TrainingData, out: Path, overwrite: bool, progress: Progress) -> Run:
    """Fits the plan on the training cases of the fold and writes all that is settled before the first step."""
    patients = {entry.id: entry.patient for entry in data.entries.values()}
    folds = (
        [sorted(patients)]
        if recipe.folds.fold == "all"
        else draw_folds(patients, recipe.folds.count, recipe.training.seed)
    )
    learned, _ = split_fold(folds, recipe.folds.fold)
    plan = data.fit(learned, recipe, lambda done, total: progress("Measuring cases", done, total, ""))
    training_transforms(recipe, plan)  # a contradiction between transforms and plan shows before anything is replaced
    run = Run(open_output_folder(out, kind="run", overwrite=overwrite), recipe, plan, data.labels)
    write_config(run.folder / "recipe.yaml", recipe)
    write_folds(run.folds_file, folds)
    write_run(run)
    return run


def resumed_run(folder: Path, recipe: Recipe, labels: LabelSet) -> Run:
    run = open_run(folder)
    if run.recipe != recipe:
        changed = [key for key in Recipe.model_fields if getattr(run.recipe, key) != getattr(recipe, key)]
        raise ConfigError("the recipe is not the one that the run was started with", where="--resume",
                          got="other " + ", ".join(changed),
                          do="Give the same recipe and overrides, or start a new run with another --out.")  # fmt: skip
    remove_leftovers(folder)
    if run.labels != labels:
        raise UsageError("the data set's labels are not those of the run", where="--resume",
                         expected=", ".join(run.labels.names), got=", ".join(labels.names))  # fmt: skip
    return run


def store_cases(run: Run, data: TrainingData, ids: Sequence[str], what: str, progress: Progress) -> list[StoredCase]:
    missing = [case_id for case_id in ids if case_id not in data.entries]
    if missing:
        raise InputError("the data set has lost cases that the run was started with", where="dataset.yaml",
                         got=", ".join(missing[:5]))  # fmt: skip
    cases = []
    for done, case_id in enumerate(ids, 1):
        cases.append(data.read(case_id, run.plan, run.recipe.raters))
        progress(what, done, len(ids), "")
    return cases
