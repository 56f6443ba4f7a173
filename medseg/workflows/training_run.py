"""How a run folder comes to be and is taken up again: folds, plan, recipe, and the cases that it learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medseg.config import write_config
from medseg.data.folds import (
    FILE,
    Folds,
    check_folds,
    draw_folds,
    fold_units,
    read_folds,
    read_own_folds,
    read_settled,
    split_fold,
    write_folds,
)
from medseg.data.store import StoredCase
from medseg.errors import ConfigError, InputError, LabelError, UsageError
from medseg.files import open_output_folder, remove_leftovers
from medseg.imaging.labels import LabelSet
from medseg.shapes import Triple
from medseg.workflows.cascading import check_low, take_over
from medseg.workflows.mirroring import check_mirroring
from medseg.workflows.recipe import Recipe, learned_alike, training_transforms, with_rate_of
from medseg.workflows.run import Run, open_run, record, recorded, write_run
from medseg.workflows.run_lock import locked_folder
from medseg.workflows.telling import Progress, Say
from medseg.workflows.training_course import FINISHED
from medseg.workflows.training_data import TrainingData
from medseg.workflows.training_folder import FOLDS_KIND, check_root, is_half_made, make_room
from medseg.workflows.training_init import check_init
from medseg.workflows.training_loss import check_network, training_loss
from medseg.workflows.training_raters import named_raters

Fold = int | Literal["all"] | None


def fold_folder(out: Path, fold: Fold) -> Path:
    """Where a training writes: `out` itself, or of one fold `out/fold_<k>`."""
    return out if fold in (None, "all") else out / f"fold_{fold}"


def with_wishes(recipe: Recipe, fold: Fold, init: str | None) -> Recipe:
    """The recipe with the fold and the initial weights that the call names.

    Raises:
        UsageError: no number of a fold.
    """
    if fold is not None:
        if fold != "all" and (not isinstance(fold, int) or isinstance(fold, bool) or fold < 0):
            raise UsageError("no such fold", where="--fold", expected="0, 1, ... or all", got=str(fold))
        recipe = recipe.model_copy(update={"folds": recipe.folds.model_copy(update={"fold": fold})})
    return recipe if init is None else recipe.model_copy(update={"init": init})


def count_folds(recipe: Recipe) -> int:
    """How many folds the recipe has."""
    return recipe.folds.count if recipe.folds.file is None else len(read_own_folds(recipe.folds.file))


@dataclass(frozen=True)
class Settled:
    """What all folds of a run share: the folds, and the voxel size of their grid (None: fitted by each training)."""

    folds: Folds
    spacing_mm: Triple | None = None


def settle(recipe: Recipe, data: TrainingData, root: Path | None, say: Say) -> Settled:
    """The folds of a training; those of a run of folds are drawn by its first fold, and read by the others.

    Args:
        root: folder of the run of folds; None for a training of its own.

    Raises:
        ConfigError: there is no such fold, or the recipe asks for other folds than those that the run has.
        InputError: the data set has other cases than the folds, or a patient or group is in several.
        OutputExistsError: the folder holds something else.
    """
    units = fold_units(data.entries.values(), recipe.folds.by)
    if root is None:
        return Settled(_choose(recipe, units))
    check_root(root)
    with locked_folder(root, wait=True, say=say):
        file = root / FILE
        if file.is_file():
            return _as_before(recipe, file, units)
        settled = Settled(_choose(recipe, units), data.grid(recipe))
        open_output_folder(root, kind=FOLDS_KIND, overwrite=is_half_made(root, FOLDS_KIND))
        write_folds(file, settled.folds, spacing_mm=settled.spacing_mm)
        return settled


def _choose(recipe: Recipe, units: Mapping[str, str]) -> Folds:
    """Folds as the recipe wants them; the one that it names is there."""
    wish = recipe.folds
    if wish.fold == "all":
        return [sorted(units)]
    if wish.file is None:
        folds = draw_folds(units, wish.count, recipe.training.seed)
    else:
        folds = read_own_folds(wish.file)
        check_folds(folds, units, where=Path(wish.file).name)
    learned, _ = split_fold(folds, wish.fold)
    if not learned:
        raise InputError("one fold holds every case, so there is none to learn from", where="folds.file",
                         expected="two folds or more", do="Add a fold, or set folds.fold=all.")  # fmt: skip
    return folds


def _as_before(recipe: Recipe, file: Path, units: Mapping[str, str]) -> Settled:
    """What the run of folds has settled; the data set and the recipe must still be the same."""
    folds = read_folds(file)
    spacing = read_settled(file).get("spacing_mm")
    settled = Settled(folds, tuple(spacing) if spacing else None)
    wish, where = recipe.folds, f"{file.parent.name}/{FILE}"
    check_folds(folds, units, where=where)
    wanted = len(folds) if wish.file is None and wish.count == len(folds) else 0
    if not wanted and (wish.file is None or read_own_folds(wish.file) != folds):
        raise ConfigError("the recipe asks for other folds than those of this run", where=where,
                          expected=f"{len(folds)} folds, written by the first training of this run",
                          got=f"count {wish.count}" if wish.file is None else f"file {Path(wish.file).name}",
                          do="Give the recipe of the other folds, or another --out.")  # fmt: skip
    if recipe.plan.spacing_mm not in (None, settled.spacing_mm):
        raise ConfigError("the folds of this run are on another grid", where="plan.spacing_mm",
                          expected=str(settled.spacing_mm), got=str(recipe.plan.spacing_mm),
                          do="Give the recipe of the other folds, or another --out.")  # fmt: skip
    split_fold(folds, wish.fold)
    return settled


@dataclass(frozen=True)
class Start:
    """A run that a training begins or goes on with.

    Args:
        folds: who trains and who validates.
        written: whether its folder is there; of a new run nothing is written until its cases have been read.
        overwrite: whether an old run goes then.
    """

    run: Run
    folds: Folds
    written: bool
    overwrite: bool = False


def new_run(recipe: Recipe, data: TrainingData, folder: Path, settled: Settled, progress: Progress) -> Run:
    """Fits the plan on the training cases of the fold and settles all that is settled before the first step.

    Nothing is written: what cannot be trained is refused first, see `write_new`.
    """
    learned, _ = split_fold(settled.folds, recipe.folds.fold)
    raters = named_raters(recipe.raters, data, learned)
    on_grid = recipe
    if settled.spacing_mm is not None:
        shared = recipe.plan.model_copy(update={"spacing_mm": settled.spacing_mm})
        on_grid = recipe.model_copy(update={"plan": shared})
    plan = data.fit(learned, on_grid, lambda done, total: progress("Measuring cases", done, total, ""))
    training_transforms(recipe, plan)
    check_mirroring(recipe, data.labels)
    training_loss(recipe, plan, data.labels)
    check_network(recipe, plan, data.labels)
    check_low(recipe, data.labels)
    run = Run(folder, recipe, plan, data.labels, raters)
    check_init(run)
    return run


def write_new(start: Start) -> None:
    """Writes the folder of a new run; an old one goes only now. `run.json` comes last and makes it a run.

    Raises:
        OutputExistsError: the folder holds something that may not be replaced.
    """
    run = start.run
    make_room(run.folder, overwrite=start.overwrite)
    write_config(run.folder / "recipe.yaml", run.recipe)
    write_folds(run.folds_file, start.folds)
    take_over(run.recipe, run.folder)
    write_run(run)


def newest_checkpoint(run: Run) -> str | None:
    """The checkpoint from which training goes on: `last`, or `best` where the process died between the two of the very
    first ones; None before those. A `last` that was lost later is an error, and no silent start from step 0."""
    if not any(run.checkpoint_file("last").parent.glob("[!.]*")):
        return None
    alone = run.checkpoint_file("best").is_file() and not run.checkpoint_file("last").exists()
    return "best" if alone and recorded(run.folder).get("state") != FINISHED else "last"


def resumed_run(folder: Path, recipe: Recipe, labels: LabelSet, say: Say) -> Run:
    """The run as it was started; the recipe may differ in how it is computed, and in `learning_rate_scale`.

    Raises:
        ConfigError: it differs in more; UsageError: the data set has other labels.
    """
    run = open_run(folder)
    learned = learned_alike(recipe, run.recipe)
    if run.recipe != learned:
        changed = [key for key in Recipe.model_fields if getattr(run.recipe, key) != getattr(learned, key)]
        raise ConfigError("the recipe is not the one that the run was started with", where="--resume",
                          got="other " + ", ".join(changed),
                          do="Give the same recipe and overrides, or start a new run with another --out. The learning "
                          "rate alone may be changed, by training.learning_rate_scale.")  # fmt: skip
    remove_leftovers(folder)
    if run.labels != labels:
        raise UsageError("the data set's labels are not those of the run", where="--resume",
                         expected=", ".join(run.labels.names), got=", ".join(labels.names))  # fmt: skip
    if recorded(folder).get("state") == FINISHED:  # nothing more is learned, at no rate
        recipe = with_rate_of(recipe, run.recipe)
    if run.recipe == recipe:
        return run
    _note_rate(run, recipe, say)
    write_config(folder / "recipe.yaml", recipe)
    return replace(run, recipe=recipe)


def _note_rate(run: Run, recipe: Recipe, say: Say) -> None:
    """Writes down and says from which step on another learning rate counts."""
    before, now = run.recipe.training.learning_rate_scale, recipe.training.learning_rate_scale
    if before == now:
        return
    which = newest_checkpoint(run)
    step = run.load(which).facts["step"] if which else 0
    told = recorded(run.folder).get("learning_rate_scales", [[0, before]])
    record(run, learning_rate_scales=[*(entry for entry in told if entry[0] < step), [step, now]])
    say(f"From step {step} on the learning rate is {now / before:g} times what it was: the weights are no longer those "
        "of a training that was not cut off.")  # fmt: skip


def check_resumed(run: Run, data: TrainingData, say: Say) -> None:
    """Refuses to go on where the data set now has a patient or group in several folds; says what is new in it.

    Raises:
        InputError: names the hashed patient or group.
    """
    folds = read_folds(run.folds_file)
    folded = {case_id for fold in folds for case_id in fold} & set(data.entries)  # what is lost is told when it is read
    units = fold_units((data.entries[case_id] for case_id in folded), run.recipe.folds.by)
    kept = ([case_id for case_id in fold if case_id in folded] for fold in folds)
    check_folds([fold for fold in kept if fold], units)
    if new := sorted(set(data.entries) - folded):
        more = f" and {len(new) - 5} more" if len(new) > 5 else ""
        say(f"New in the data set and no part of this run: {', '.join(new[:5])}{more}.")


def check_present(data: TrainingData, ids: Sequence[str]) -> None:
    """Refuses a data set that has lost cases of the run's folds.

    Raises:
        InputError: names them.
    """
    missing = [case_id for case_id in ids if case_id not in data.entries]
    if missing:
        raise InputError("the data set has lost cases that the run was started with", where="dataset.yaml",
                         got=", ".join(missing[:5]))  # fmt: skip


def store_cases(run: Run, data: TrainingData, ids: Sequence[str], what: str, progress: Progress) -> list[StoredCase]:
    check_present(data, ids)
    cases = []
    for done, case_id in enumerate(ids, 1):
        cases.append(data.read(case_id, run.plan, run.recipe.raters))
        progress(what, done, len(ids), "")
    return cases


def check_occurrence(run: Run, learned: Sequence[StoredCase], held_out: Sequence[StoredCase], say: Say) -> None:
    """Says which structures no training case of the fold has; refuses those that no case has at all.

    Raises:
        LabelError: unless the recipe's `absent_structures` allows it.
    """
    foreground = [(index, name) for index, name in enumerate(run.labels.names) if index]
    absent = [(index, name) for index, name in foreground if not any(index in case.places for case in learned)]
    nowhere = [name for index, name in absent if not any(index in case.places for case in held_out)]
    if nowhere and run.recipe.absent_structures == "refuse":
        raise LabelError(
            "a structure of the data set occurs in no case", where="dataset.yaml, labels", got=", ".join(nowhere),
            do="Check the values of `labels:` and the split, take the structure out, or set absent_structures=allow.",
        )  # fmt: skip
    if absent:
        names = ", ".join(name for _, name in absent)
        say(f"No training case of this fold has {names}: the network will not learn to mark it.")
