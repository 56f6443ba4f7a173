"""`medseg train`: from a recipe to a run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from medseg.config import write_config
from medseg.data.folds import draw_folds, read_folds, split_fold, write_folds
from medseg.data.store import StoredCase, majority_vote
from medseg.errors import ConfigError, InputError, UsageError
from medseg.files import open_output_folder, remove_leftovers, write_text
from medseg.imaging.labels import LabelSet
from medseg.inference.sliding_window import predict_probabilities
from medseg.losses.deep_supervision import DeepSupervision
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.standardise import normalise
from medseg.report.canvas import to_svg
from medseg.report.figures import training_curves
from medseg.training.checkpoint import write_checkpoint
from medseg.training.logbook import Logbook, read_log
from medseg.training.loop import Hooks, TrainingState, choose_device, train_steps
from medseg.training.memory import keep_freed_memory
from medseg.workflows.augmenting import build_feed, describe_waiting
from medseg.workflows.recipe import Recipe, read_recipe, training_transforms
from medseg.workflows.run import Run, open_run, write_run
from medseg.workflows.training_data import TrainingData, open_training

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
    resume: bool = False,
    overwrite: bool = False,
    say: Say = lambda text: None,
    progress: Progress = lambda what, done, total, note: None,
) -> Training:
    """Trains a network and writes the run folder `out`.

    Args:
        recipe: a Recipe, or a path to its YAML with `overrides` such as `training.steps=500`.
        resume: go on from the last checkpoint in `out`; the recipe must be the one that the run was started with.
        overwrite: replace a run that is there.
        say: called with sentences worth reading.
        progress: called with (what, done, total, note).

    Raises:
        ConfigError, UsageError: the recipe or the call is wrong.
        InputError: the data set is; MedsegErrors of the readers.
        OutputExistsError: `out` holds a run and neither `resume` nor `overwrite` is given.
        TrainingError: the loss is not finite.
    """
    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other")
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe, overrides)
    choose_device(recipe.training.device)
    recipe, data = open_training(recipe)
    if resume:
        run = _resumed(Path(out), recipe, data.labels)
    else:
        run = _new_run(recipe, data, Path(out), overwrite, progress)
    return _train(run, data, resume, say, progress)


def _new_run(recipe: Recipe, data: TrainingData, out: Path, overwrite: bool, progress: Progress) -> Run:
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


def _resumed(folder: Path, recipe: Recipe, labels: LabelSet) -> Run:
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


def _train(run: Run, data: TrainingData, resume: bool, say: Say, progress: Progress) -> Training:
    recipe = run.recipe
    learned, validated = split_fold(read_folds(run.folds_file), recipe.folds.fold)
    cases = _store(run, data, learned, "Reading training cases", progress)
    held_out = _store(run, data, validated, "Reading validation cases", progress)
    device = choose_device(recipe.training.device)
    if device.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(recipe.training.seed)
    model = run.build_model().to(device)
    state = TrainingState(model, recipe.training.optimizer.build(model))
    if resume and _has_begun(run):
        state.unpack(run.load("last"))
        say(f"Going on from step {state.step} of {recipe.training.steps}.")
    say(_describe(run, model, device))
    if tuple(recipe.plan.patch) != tuple(plan_patch := run.plan.patch):
        say(f"plan.patch {list(recipe.plan.patch)} became {list(plan_patch)}: the network halves it several times.")
    if padding := _describe_padding(cases, run.plan):
        say(padding)
    log = Logbook(run.log_file, resume_at=state.step)
    feed = build_feed(run, cases, state.step, device, say)
    hooks = Hooks(
        validate=lambda: validation_dice(model, held_out, run, progress),
        save=lambda best: _save(run, state, best),
        log=log.add,
        tick=lambda step, loss: progress("Training", step, recipe.training.steps, f"loss {loss:.3f}"),
        prepare=feed.prepare,
    )
    finished = train_steps(state, feed.loader, DeepSupervision(recipe.loss.build()), recipe.training, hooks)
    _draw_curves(run)
    say(describe_waiting(hooks.wait_share))
    return Training(run, finished, state.step, state.best)


def _has_begun(run: Run) -> bool:
    """Whether a checkpoint was ever written: a lost `last` is then an error and not a silent start from step 0."""
    return any(run.checkpoint_file("last").parent.glob("[!.]*"))


def _store(run: Run, data: TrainingData, ids: Sequence[str], what: str, progress: Progress) -> list[StoredCase]:
    missing = [case_id for case_id in ids if case_id not in data.entries]
    if missing:
        raise InputError("the data set has lost cases that the run was started with", where="dataset.yaml",
                         got=", ".join(missing[:5]))  # fmt: skip
    cases = []
    for done, case_id in enumerate(ids, 1):
        cases.append(data.read(case_id, run.plan, run.recipe.raters))
        progress(what, done, len(ids), "")
    return cases


def validation_dice(
    model: torch.nn.Module, cases: Sequence[StoredCase], run: Run, progress: Progress
) -> dict[str, float]:
    """Mean Dice per structure against the readers' majority, on the plan's grid; empty without cases.

    A structure that neither the majority nor the model marked in a case does not count there; one that is never
    marked is left out. Voxels that nobody read are left out.
    """
    names, found = run.labels.names, {name: [] for name in run.labels.foreground}
    for done, case in enumerate(cases, 1):
        reference = torch.from_numpy(majority_vote(case.labels[:].numpy(), len(names)))
        image = normalise(case.hu[:].float(), run.plan)  # type: ignore[arg-type]
        scores = predict_probabilities(model, image, run.plan.patch, run.recipe.inference, run.labels.mirror_indices)  # type: ignore[arg-type]
        predicted = scores.argmax(0)
        predicted[reference < 0] = -1
        for index, name in enumerate(names):
            a, b = reference == index, predicted == index
            if index and (total := int(a.sum() + b.sum())):
                found[name].append(2 * int((a & b).sum()) / total)
        progress("Validating", done, len(cases), "")
    return {name: round(sum(dice) / len(dice), 5) for name, dice in found.items() if dice}


def _save(run: Run, state: TrainingState, best: bool) -> None:
    checkpoint = state.pack({"labels": list(run.labels.names), "model": run.recipe.model.name})
    for which in ("best", "last") if best else ("last",):
        write_checkpoint(run.checkpoint_file(which), checkpoint)


def _draw_curves(run: Run) -> None:
    rows = read_log(run.log_file)
    if rows:
        write_text(run.folder / "curves.svg", to_svg(training_curves(rows)))


def _describe(run: Run, model: torch.nn.Module, device: torch.device) -> str:
    plan = run.plan
    weights = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    patch, spacing = (" x ".join(f"{value:g}" for value in triple) for triple in (plan.patch, plan.spacing_mm))
    low, high = plan.window_hu
    return (
        f"{run.recipe.model.name} with {weights:.2f} million weights on {device.type}; "
        f"patches of {patch} voxels of {spacing} mm; {low:g} to {high:g} HU."
    )


def _describe_padding(cases: Sequence[StoredCase], plan: Plan) -> str:
    """A sentence about the cases that are smaller than the patch; empty when none is."""
    small = sum(any(n < wanted for n, wanted in zip(c.hu.shape[1:], plan.patch, strict=True)) for c in cases)
    if not small:
        return ""
    patch = " x ".join(map(str, plan.patch))
    return (
        f"The patch of {patch} voxels is larger than {small} of {len(cases)} training images; they are padded with air."
    )
