"""`medseg train`: from a recipe to a run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from medseg.data.folds import read_folds, split_fold
from medseg.errors import UsageError
from medseg.files import write_text
from medseg.report.canvas import to_svg
from medseg.report.figures import training_curves
from medseg.training.checkpoint import write_checkpoint
from medseg.training.logbook import Logbook, read_log
from medseg.training.loop import Hooks, TrainingState, choose_device, train_steps
from medseg.training.memory import keep_freed_memory
from medseg.workflows.augmenting import build_feed, describe_waiting
from medseg.workflows.recipe import Recipe, read_recipe
from medseg.workflows.run import Run, record
from medseg.workflows.run_lock import locked_folder
from medseg.workflows.training_course import course
from medseg.workflows.training_data import TrainingData, open_training
from medseg.workflows.training_init import begin_with, read_weights
from medseg.workflows.training_loss import training_loss
from medseg.workflows.training_run import (
    Fold,
    check_target,
    fold_folder,
    new_run,
    resumed_run,
    settle,
    store_cases,
    with_wishes,
)
from medseg.workflows.training_validation import validation_dice
from medseg.workflows.training_words import describe, describe_padding
from medseg.workflows.watching import check_tracking, watch

Say = Callable[[str], None]
Progress = Callable[[str, int, int, str], None]  # what, done, total, note


@dataclass(frozen=True)
class Training:
    """How a training ended; `finished` is False when it was interrupted and can be resumed."""

    run: Run
    finished: bool
    step: int
    best_dice: float | None


def train(
    recipe: Recipe | str | Path,
    overrides: Sequence[str] = (),
    *,
    out: str | Path,
    fold: Fold = None,
    init: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    say: Say = lambda text: None,
    progress: Progress = lambda what, done, total, note: None,
) -> Training:
    """Trains a network and writes the run folder `out`.

    Args:
        recipe: a Recipe, or a path to its YAML with `overrides` such as `training.steps=500`.
        fold: hold out this fold and write to `out/fold_<k>`: the folds of `out/folds.json` are drawn by the first
            training and read by the others; `all` trains on every case. Without it, `folds.fold` of the recipe counts.
        init: takes the place of the recipe's `init`: trained weights to begin with.
        resume: go on from the last checkpoint in `out`; the recipe must be the one that the run was started with.
        overwrite: replace a run that is there.
        say: called with sentences worth reading.
        progress: called with (what, done, total, note).

    Raises:
        ConfigError, UsageError: the recipe or the call is wrong, or another training writes into the folder.
        InputError: the data set is, or it has changed since the folds were drawn; MedsegErrors of the readers.
        CheckpointError: no layer of `init` fits, or it cannot be read.
        OutputExistsError: `out` holds a run and neither `resume` nor `overwrite` is given.
        TrainingError: the loss is not finite.
    """
    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other")
    recipe = with_wishes(recipe if isinstance(recipe, Recipe) else read_recipe(recipe, overrides), fold, init)
    choose_device(recipe.training.device)
    check_tracking(recipe.tracking)
    recipe, data = open_training(recipe)
    if recipe.init is not None and not resume:
        read_weights(recipe.init, recipe)  # a wrong path shows before cases are measured for minutes
    folder = fold_folder(Path(out), fold)
    check_target(folder, resume=resume, overwrite=overwrite)
    settled = None if resume else settle(recipe, data, None if folder == Path(out) else Path(out), say)
    with locked_folder(folder, say=say):
        if settled is None:
            run = resumed_run(folder, recipe, data.labels)
        else:
            run = new_run(recipe, data, folder, settled, overwrite=overwrite, progress=progress)
        return _train(run, data, resume, say, progress)


def _train(run: Run, data: TrainingData, resume: bool, say: Say, progress: Progress) -> Training:
    recipe = run.recipe
    learned, validated = split_fold(read_folds(run.folds_file), recipe.folds.fold)
    cases = store_cases(run, data, learned, "Reading training cases", progress)
    held_out = store_cases(run, data, validated, "Reading validation cases", progress)
    device = choose_device(recipe.training.device)
    if device.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(recipe.training.seed)
    model = run.build_model().to(device)
    if resume and _has_begun(run):
        beginning = None  # the checkpoint has it all
    else:
        beginning = begin_with(run, model, validated)
    state = TrainingState(model, recipe.training.optimizer.build(model))
    if resume and _has_begun(run):
        state.unpack(run.load("last"))
        say(f"Going on from step {state.step} of {recipe.training.steps}.")
    say(describe(run, model, device))
    if tuple(recipe.plan.patch) != tuple(plan_patch := run.plan.patch):
        say(f"plan.patch {list(recipe.plan.patch)} became {list(plan_patch)}: the network halves it several times.")
    if beginning:
        record(run, init=beginning.facts)
        for sentence in beginning.sentences:
            say(sentence)
    if padding := describe_padding(cases, run.plan):
        say(padding)
    log = Logbook(run.log_file, resume_at=state.step)
    watching = watch(run, state.step, say, progress)
    feed = build_feed(run, cases, state.step, device, say)
    with course(run, state) as note:
        hooks = Hooks(
            validate=lambda: validation_dice(model, held_out, run, progress, watching.slices.look),
            save=lambda best: _save(run, state, best, note),
            watchers=[log, *watching.watchers],
            tick=watching.line.tick,
            prepare=feed.prepare,
        )
        finished = train_steps(state, feed.loader, training_loss(recipe, run.plan, run.labels), recipe.training, hooks)
    _draw_curves(run)
    say(describe_waiting(hooks.wait_share))
    return Training(run, finished, state.step, state.best)


def _has_begun(run: Run) -> bool:
    """Whether a checkpoint was ever written: a lost `last` is then an error and not a silent start from step 0."""
    return any(run.checkpoint_file("last").parent.glob("[!.]*"))


def _save(run: Run, state: TrainingState, best: bool, note: Callable[[], None]) -> None:
    checkpoint = state.pack({"labels": list(run.labels.names), "model": run.recipe.model.name})
    for which in ("best", "last") if best else ("last",):
        write_checkpoint(run.checkpoint_file(which), checkpoint)
    note()


def _draw_curves(run: Run) -> None:
    rows = read_log(run.log_file)
    if rows:
        write_text(run.folder / "curves.svg", to_svg(training_curves(rows)))
