"""How a run folder comes to be and is taken up again: folds, plan, recipe, and the cases that it learns from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from medseg.errors import ConfigError, InputError, LabelError, MedsegError, OutputExistsError, UsageError
from medseg.files import check_output_folder, open_output_folder, remove_leftovers
from medseg.imaging.labels import LabelSet
from medseg.shapes import Triple
from medseg.workflows.cascading import check_low, take_over
from medseg.workflows.mirroring import check_mirroring
from medseg.workflows.recipe import Recipe, learned_alike, training_transforms
from medseg.workflows.run import Run, open_run, recorded, write_run
from medseg.workflows.run_lock import in_use, is_locked, locked_folder
from medseg.workflows.telling import Progress, Say
from medseg.workflows.training_data import TrainingData
from medseg.workflows.training_init import check_init
from medseg.workflows.training_loss import check_network, training_loss
from medseg.workflows.training_raters import named_raters

Fold = int | Literal["all"] | None
FOLDS_KIND = "run of folds"


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


def check_target(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuses a folder that cannot be written to, before anything is made.

    Raises:
        UsageError: another training writes there; OutputExistsError; FileReadError: nothing to resume.
    """
    if is_locked(folder):
        raise in_use(folder)
    if resume:
        open_run(folder)
    elif not overwrite and (folder / "run.json").exists():
        raise OutputExistsError(
            "a run is there already",
            where=folder.name,
            do="Go on with --resume, replace it with --overwrite, or choose another --out.",
        )
    else:
        check_output_folder(folder, kind="run", overwrite=overwrite)


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
    _check_root(root)
    with locked_folder(root, wait=True, say=say):
        file = root / FILE
        if file.is_file():
            return _as_before(recipe, file, units)
        settled = Settled(_choose(recipe, units), data.grid(recipe))
        open_output_folder(root, kind=FOLDS_KIND)
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


def _check_root(root: Path) -> None:
    """Refuses a folder of folds that is something else."""
    if (root / "run.json").exists():
        raise OutputExistsError("this folder holds a run of its own, not of folds", where=root.name,
                                do="Choose another --out for --fold, or leave --fold out.")  # fmt: skip
    if not (root / FILE).is_file():
        check_output_folder(root, kind=FOLDS_KIND)


def new_run(recipe: Recipe, data: TrainingData, folder: Path, settled: Settled, *, overwrite: bool,
            progress: Progress) -> Run:  # fmt: skip
    """Fits the plan on the training cases of the fold and writes all that is settled before the first step."""
    learned, _ = split_fold(settled.folds, recipe.folds.fold)
    raters = named_raters(recipe.raters, data, learned)
    on_grid = recipe
    if settled.spacing_mm is not None:
        shared = recipe.plan.model_copy(update={"spacing_mm": settled.spacing_mm})
        on_grid = recipe.model_copy(update={"plan": shared})
    plan = data.fit(learned, on_grid, lambda done, total: progress("Measuring cases", done, total, ""))
    # contradictions show before anything is replaced
    training_transforms(recipe, plan)
    check_mirroring(recipe, data.labels)
    training_loss(recipe, plan, data.labels)
    check_network(recipe, plan, data.labels)
    check_low(recipe, data.labels)
    run = Run(folder, recipe, plan, data.labels, raters)
    check_init(run)
    open_output_folder(folder, kind="run", overwrite=overwrite)
    write_config(run.folder / "recipe.yaml", recipe)
    write_folds(run.folds_file, settled.folds)
    take_over(recipe, run.folder)
    write_run(run)
    return run


@contextmanager
def nothing_left(run: Run) -> Iterator[None]:
    """Empties the folder of a new run again if its data or its recipe are refused before the first step."""
    try:
        yield
    except MedsegError:
        if "state" not in recorded(run.folder):
            open_output_folder(run.folder, kind="run", overwrite=True)
        raise


def resumed_run(folder: Path, recipe: Recipe, labels: LabelSet) -> Run:
    """The run as it was started; the recipe may differ in how it is computed, not in what is learned.

    Raises:
        ConfigError: it differs in more; UsageError: the data set has other labels.
    """
    run = open_run(folder)
    learned = learned_alike(recipe, run.recipe)
    if run.recipe != learned:
        changed = [key for key in Recipe.model_fields if getattr(run.recipe, key) != getattr(learned, key)]
        raise ConfigError("the recipe is not the one that the run was started with", where="--resume",
                          got="other " + ", ".join(changed),
                          do="Give the same recipe and overrides, or start a new run with another --out.")  # fmt: skip
    remove_leftovers(folder)
    if run.labels != labels:
        raise UsageError("the data set's labels are not those of the run", where="--resume",
                         expected=", ".join(run.labels.names), got=", ".join(labels.names))  # fmt: skip
    if run.recipe == recipe:
        return run
    write_config(folder / "recipe.yaml", recipe)
    return replace(run, recipe=recipe)


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
