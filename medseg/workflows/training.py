"""`medseg train`: from a recipe to a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from medseg.data.folds import read_folds, split_fold
from medseg.data.store import StoredCase
from medseg.errors import UsageError
from medseg.files import write_text
from medseg.models.cascade import image_channels
from medseg.training.distributed import World, open_world
from medseg.training.logbook import read_log
from medseg.training.loop import new_state, train_steps
from medseg.training.machine import check_wishes, choose_machine
from medseg.training.memory import keep_freed_memory
from medseg.workflows.augmenting import build_feed, describe_waiting
from medseg.workflows.cascading import with_low
from medseg.workflows.recipe import Recipe, read_recipe, with_preferences
from medseg.workflows.run import Run, record, recorded
from medseg.workflows.run_lock import locked_folder
from medseg.workflows.telling import Progress, Say
from medseg.workflows.training_course import FINISHED, course, seen
from medseg.workflows.training_data import TrainingData, open_training
from medseg.workflows.training_folder import check_sources, check_target, nothing_left
from medseg.workflows.training_hooks import first_hooks, other_hooks
from medseg.workflows.training_init import begin_with, read_weights
from medseg.workflows.training_loss import training_loss
from medseg.workflows.training_run import (
    Fold,
    Start,
    check_occurrence,
    check_present,
    check_resumed,
    fold_folder,
    new_run,
    newest_checkpoint,
    resumed_run,
    settle,
    store_cases,
    with_wishes,
    write_new,
)
from medseg.workflows.training_words import describe, describe_padding
from medseg.workflows.watching import check_tracking


@dataclass(frozen=True)
class Training:
    """How a training ended; `finished` is False when it was interrupted and can be resumed. Of several processes only
    the `first` one has something to say about it."""

    run: Run
    finished: bool
    step: int
    best_dice: float | None
    first: bool = True


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
        resume: go on from the last checkpoint in `out`; the recipe must be the one that the run was started with. Where
            nothing has begun, the training begins.
        overwrite: replace a run that is there; it is removed when all that can be refused has been looked at.
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
    with open_world() as world:
        recipe = with_wishes(recipe if isinstance(recipe, Recipe) else read_recipe(recipe, overrides), fold, init)
        world = world.on(recipe.training.device)
        if not world.first:
            say, progress = _in_silence, _in_silence
        check_tracking(recipe.tracking)
        recipe, data = open_training(recipe, say)
        recipe = with_preferences(recipe)
        check_wishes(recipe.training, world)
        folder = fold_folder(Path(out), fold)
        if recipe.init is not None and not (resume and (folder / "run.json").exists()):
            read_weights(recipe.init, recipe)  # a wrong path shows before cases are measured for minutes
        if not world.first:
            return _train(_shared(None, folder, world), data, world, say, progress)
        goes_on = check_target(folder, resume=resume, overwrite=overwrite, say=say)
        if overwrite:
            check_sources(recipe, folder)
        settled = None if goes_on else settle(recipe, data, None if folder == Path(out) else Path(out), say)
        with locked_folder(folder, say=say):
            if settled is None:
                run = resumed_run(folder, recipe, data.labels, say)
                check_resumed(run, data, say)
                start = Start(run, read_folds(run.folds_file), written=True)
            else:
                run = new_run(recipe, data, folder, settled, progress)
                start = Start(run, settled.folds, written=False, overwrite=overwrite)
            return _train(_shared(start, folder, world), data, world, say, progress)


def _shared(start: Start | None, folder: Path, world: World) -> Start:
    """What the first process has settled, in every process with its own folder."""
    shared = world.gathered(start)[0]
    assert shared is not None
    return replace(shared, run=replace(shared.run, folder=folder))


def _in_silence(*told: object) -> None:
    """What the processes say that are not the first."""


def _train(start: Start, data: TrainingData, world: World, say: Say, progress: Progress) -> Training:
    run, (learned, validated) = start.run, split_fold(start.folds, start.run.recipe.folds.fold)
    check_present(data, [*learned, *validated])
    if start.written and newest_checkpoint(run) and recorded(run.folder).get("state") == FINISHED:
        return _as_it_ended(run, world, say)
    cases = store_cases(run, data, learned, "Reading training cases", progress)
    held_out = store_cases(run, data, validated, "Reading validation cases", progress)
    check_occurrence(run, cases, held_out, say)
    if start.written:
        return _learn(run, cases, held_out, world, say, progress)
    build_feed(run, cases, 0, world, _in_silence)  # what it refuses shows before an old run is removed
    if world.first:
        write_new(start)
    world.wait()  # the others open what has been written
    with nothing_left(run) if world.first else nullcontext():
        return _learn(run, cases, held_out, world, say, progress)


def _learn(
    run: Run, cases: list[StoredCase], held_out: list[StoredCase], world: World, say: Say, progress: Progress
) -> Training:  # fmt: skip
    recipe = run.recipe
    cases, held_out = with_low(run, cases, say, progress), with_low(run, held_out, say, progress)
    if world.device.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(recipe.training.seed)
    model = run.build_model().to(world.device)
    which = newest_checkpoint(run)
    beginning = None if which else begin_with(run, model, [case.id for case in held_out])
    machine, sentences = choose_machine(model, recipe.training, world, image_channels(model), run.plan.patch)
    state = new_state(model, recipe.training)
    if which:
        state.unpack(run.load(which))
        say(f"Going on from step {state.step} of {recipe.training.steps}.")
    say(describe(run, model, world))
    if recipe.training.early_stopping and not held_out:
        say("training.early_stopping does nothing: no case is held out, so there is no Dice to stop by.")
    if tuple(recipe.plan.patch) != tuple(plan_patch := run.plan.patch):
        say(f"plan.patch {list(recipe.plan.patch)} became {list(plan_patch)}: the network halves it several times.")
    for sentence in (*sentences, *(beginning.sentences if beginning else ()), describe_padding(run, cases)):
        if sentence:
            say(sentence)
    feed = build_feed(run, cases, state.step, world, say)
    loss = training_loss(recipe, run.plan, run.labels)
    if not world.first:
        hooks = other_hooks(run, state, held_out, feed, world)
        finished = train_steps(state, feed.loader, loss, recipe.training, hooks, machine)
        return Training(run, finished, state.step, state.best, first=False)
    if beginning:
        record(run, init=beginning.facts)
    record(run, **seen(cases, run.plan))
    with course(run, state) as note:
        hooks = first_hooks(run, state, held_out, feed, note, world, say, progress)
        finished = train_steps(state, feed.loader, loss, recipe.training, hooks, machine)
    _draw_curves(run)
    if sentence := describe_waiting(hooks.waited, hooks.stepped):
        say(sentence)
    return Training(run, finished, state.step, state.best)


def _as_it_ended(run: Run, world: World, say: Say) -> Training:
    """A training of which nothing is left to do; its checkpoint is opened, so that a damaged one is noticed."""
    facts = run.load("last").facts
    say(f"Finished before, after {facts['step']} steps; nothing is left to do.")
    return Training(run, True, facts["step"], facts["best"], first=world.first)


def _draw_curves(run: Run) -> None:
    from medseg.report.canvas import to_svg  # drawing takes seconds to import and is not needed before the end
    from medseg.report.figures import training_curves
    from medseg.workflows.run_report import write_report

    rows = read_log(run.log_file)
    if rows:
        write_text(run.folder / "curves.svg", to_svg(training_curves(rows)))
    write_report(run.folder)
