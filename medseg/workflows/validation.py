"""`medseg validate`: what the cases that were held out say of a trained run.

Every case is predicted by the network that has not learned from it, on the plan's grid. All of them together choose the
postprocessing of the run and calibrate the Dice that can be expected of a prediction.

```
RUN/postprocessing.yaml    steps that gain Dice; `medseg predict` applies them; may be changed by hand
    expected_dice.json     promised and actual Dice of every structure, by which predictions are judged
    validation.json        Dice of every structure before and after the steps, and of every case after them
```
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from medseg.data.folds import read_folds, run_folders, split_fold
from medseg.data.store import StoredCase, majority_vote
from medseg.errors import FileReadError, OutputExistsError, UsageError
from medseg.evaluation import expected_dice as promises
from medseg.evaluation.expected_dice import DiceCalibration, expected_dice, write_calibrations
from medseg.evaluation.held_out import HeldOutCase, Packed, Structures, StructureScore, calibrate, score
from medseg.evaluation.postprocessing_choice import LEAST_PATIENTS, ChosenStep, choose_steps
from medseg.imaging.geometry import Geometry
from medseg.imaging.postprocess import DropApart, DropSmall, FillCavities, KeepLargest
from medseg.inference.study import StandardisedStudy
from medseg.inference.tiles import find_body
from medseg.workflows.cascading import with_low
from medseg.workflows.outputs import plain, write_json
from medseg.workflows.postprocessing_file import (
    FILE,
    DropApartConfig,
    DropSmallConfig,
    FillCavitiesConfig,
    Gain,
    KeepLargestConfig,
    Postprocessing,
    StepConfig,
    read_postprocessing,
    write_postprocessing,
)
from medseg.workflows.prediction_files import origin_of
from medseg.workflows.run import Predictor, Run, open_run
from medseg.workflows.run_lock import in_use, is_locked
from medseg.workflows.training_data import open_training
from medseg.workflows.training_loss import judged_structures
from medseg.workflows.training_run import store_cases

SCHEMA, SCORES_FILE = "medseg.validation/1", "validation.json"
Say = Callable[[str], None]
Progress = Callable[[str, int, int, str], None]  # what, done, total, note


@dataclass(frozen=True)
class Validation:
    """What the held-out cases of one run say.

    Args:
        run: its folder.
        cases, patients: how many there are.
        postprocessing: what is now in the run's file.
        chosen: the steps that were chosen just now, with what they gained; empty where the file was kept.
        before, after: every structure without postprocessing and with it.
        expected: calibration of the expected Dice of every class.
    """

    run: Path
    cases: int
    patients: int
    postprocessing: Postprocessing
    chosen: tuple[ChosenStep, ...]
    before: dict[str, StructureScore]
    after: dict[str, StructureScore]
    expected: dict[str, DiceCalibration]

    @property
    def too_few(self) -> bool:
        """Whether there are too few patients to choose by."""
        return self.patients < LEAST_PATIENTS


def validate(
    runs: str | Path | Sequence[str | Path],
    *,
    data: str | Path | None = None,
    checkpoint: str = "best",
    device: str = "auto",
    keep_postprocessing: bool = False,
    overwrite: bool = False,
    say: Say = lambda text: None,
    progress: Progress = lambda what, done, total, note: None,
) -> list[Validation]:
    """Predicts the held-out cases of each run and writes what they teach into its folder.

    A run of folds (`fold_<k>`) has every case predicted by the fold that held it out; a run of one fold has only that
    fold's cases. Several runs are validated one by one.

    Args:
        data: where the data set or the store lies now, if not where the recipe says.
        checkpoint: `best` or `last`.
        device: `auto`, `cpu` or `cuda`.
        keep_postprocessing: leave `postprocessing.yaml` as it is, and measure and calibrate with it.
        overwrite: choose anew where there is one.

    Raises:
        UsageError: no case was held out, or a training writes into the folder.
        OutputExistsError: the run has a `postprocessing.yaml`, and nothing says what is to become of it.
        InputError, FileReadError, CheckpointError: the data set has lost cases; see `open_run` and `Run.load`.
    """
    if checkpoint not in ("best", "last"):
        raise UsageError("no such checkpoint", where="--checkpoint", expected="best or last", got=checkpoint)
    folders = [Path(runs)] if isinstance(runs, str | Path) else [Path(run) for run in runs]
    for folder in folders:
        _check(folder, keep_postprocessing, overwrite)
    return [_validate(folder, data, checkpoint, device, keep_postprocessing, say, progress) for folder in folders]


def _check(folder: Path, keep: bool, overwrite: bool) -> None:
    """Refuses a folder before anything is computed."""
    if not (members := run_folders(folder)):
        open_run(folder)  # says what is wrong with it
    for member in members:
        if is_locked(member):
            raise in_use(member)
    if keep and overwrite:
        raise UsageError("--keep-postprocessing and --overwrite exclude each other")
    if keep and not (folder / FILE).exists():
        raise FileReadError("no such file", where=f"{folder.name}/{FILE}", do="Leave --keep-postprocessing out.")
    if not keep and not overwrite and (folder / FILE).exists():
        raise OutputExistsError("the run has its postprocessing already", where=f"{folder.name}/{FILE}",
                                do="Choose anew with --overwrite, or keep it with --keep-postprocessing.")  # fmt: skip


def _validate(
    folder: Path, data: str | Path | None, checkpoint: str, device: str, keep: bool, say: Say, progress: Progress
) -> Validation:
    members = [open_run(path) for path in run_folders(folder)]
    first = members[0]
    names, structures = first.labels.names, judged_structures(first.recipe, first.labels)
    cases = [case for run in members for case in _held_out(run, data, checkpoint, device, say, progress)]
    if not cases:
        raise UsageError("no case was held out from this run", where=folder.name,
                         do="Train with folds: medseg train ... --fold each.")  # fmt: skip
    before, model = score(cases, structures), origin_of(folder, checkpoint).model
    if keep:
        chosen: list[ChosenStep] = []
        made = read_postprocessing(folder, first.labels) or Postprocessing()
        after = cases
        for step in made.built:
            after = [case.apply(step, names) for case in after]
    else:
        chosen, after = choose_steps(
            cases, names, structures, lambda done, total: progress("Choosing postprocessing", done, total, "")
        )
        made = Postprocessing(model_sha256=model, steps=tuple(map(_as_config, chosen)))
        write_postprocessing(folder, made)
    expected = calibrate(after, names)
    facts = {"model_sha256": model, "postprocessing_sha256": made.digest, "cases": len(cases)}
    write_calibrations(folder / promises.FILE, expected, **facts)
    patients = len({case.patient for case in cases})
    found = Validation(folder, len(cases), patients, made, tuple(chosen), before, score(after, structures), expected)
    _write_scores(found, after, structures, facts)
    return found


def _held_out(
    run: Run, data: str | Path | None, checkpoint: str, device: str, say: Say, progress: Progress
) -> Iterator[HeldOutCase]:
    """The held-out cases of one training, each predicted by it."""
    recipe = run.recipe if data is None else run.recipe.model_copy(update={"data": str(data)})
    _, ids = split_fold(read_folds(run.folds_file), recipe.folds.fold)
    if not ids:
        return
    _, source = open_training(recipe)
    stored = with_low(run, store_cases(run, source, ids, "Reading held-out cases", progress), say, progress)
    predictor = Predictor.from_run(run.folder, checkpoint=checkpoint, device=device, postprocessing=False, say=say)
    for done, case in enumerate(stored, 1):
        yield _predicted(case, source.entries[case.id].patient, predictor)
        progress("Predicting held-out cases", done, len(stored), run.folder.name)


def _predicted(case: StoredCase, patient: str, predictor: Predictor) -> HeldOutCase:
    """A case with the prediction of a network that does not know it."""
    hu, names = case.hu[:][0].numpy(), predictor.label_set.names
    grid = Geometry(hu.shape, np.diag([*predictor.plans[0].spacing_mm, 1.0]))
    body = find_body(hu, grid.spacing_mm) if predictor.config.skip_air else None
    coarse = None if case.coarse is None else case.coarse[0].numpy()
    prediction = predictor.predict(StandardisedStudy(hu, grid, grid, body, coarse), uncertainty=True)
    sums = prediction.sums
    assert sums is not None, "they were asked for"
    promised = {name: expected_dice(float(sums.inside[index]), float(sums.total[index]), int(sums.voxels[index]))
                for index, name in enumerate(names)}  # fmt: skip
    sought = case.known.any(0).tolist() if case.known is not None else [True] * len(names)
    reference = majority_vote(case.labels[:].numpy(), len(names), case.known)
    indices = predictor.label_set.to_indices(prediction.labels)
    return HeldOutCase(case.id, patient, Packed.pack(indices), Packed.pack(reference), sought, grid.voxel_ml, promised)


def _as_config(chosen: ChosenStep) -> StepConfig:
    """A chosen step as it stands in the file."""
    gain = Gain(dice_before=round(chosen.dice_before, 4), dice_after=round(chosen.dice_after, 4), cases=chosen.cases)
    match chosen.step:
        case KeepLargest(of, pieces):
            return KeepLargestConfig(of=of, pieces=pieces, gain=gain)
        case DropSmall(of, below_ml):
            return DropSmallConfig(of=of, below_ml=below_ml, gain=gain)
        case DropApart(of, touching):
            return DropApartConfig(of=of, touching=touching, gain=gain)
        case FillCavities(of, up_to_ml):
            return FillCavitiesConfig(of=of, up_to_ml=up_to_ml, gain=gain)
    raise AssertionError(chosen.step)


def _write_scores(found: Validation, cases: Sequence[HeldOutCase], structures: Structures, facts: dict) -> None:
    told = {name: {"before": asdict(found.before[name]), "after": asdict(found.after[name])} for name in structures}
    dice = {case.id: {name: case.dice(classes) for name, classes in structures.items()} for case in cases}
    content = {"schema": SCHEMA, **facts, "structures": told, "dice_by_case": dice}
    content["steps"] = [{**asdict(each), "step": str(each.step)} for each in found.chosen]
    write_json(found.run / SCORES_FILE, plain(content))
