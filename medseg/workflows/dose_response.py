"""`medseg invariance`: what a model still finds when the input is turned, scaled, shifted, blurred, hidden ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.errors import ConfigError, FileReadError, InputError, UsageError
from medseg.evaluation.dose_response import Line
from medseg.io.manifest import CaseEntry, Dataset
from medseg.workflows.invariance_cache import DoseCache, check_out, open_out
from medseg.workflows.invariance_case import ChallengedCase, check_raters, label_set_of
from medseg.workflows.invariance_files import write_invariance
from medseg.workflows.invariance_models import (
    Judged,
    Model,
    PredictedFolder,
    check_predictions,
    found_doses,
    open_model,
    open_predictions,
)
from medseg.workflows.invariance_pictures import worst_pictures
from medseg.workflows.invariance_result import Tested, summarise
from medseg.workflows.invariance_scoring import score_models
from medseg.workflows.invariance_settings import Doses, Plan, build_plan
from medseg.workflows.outputs import plain
from medseg.workflows.readings import open_dataset
from medseg.workflows.readings_case import listed
from medseg.workflows.readings_labels import ModelLabelsSource
from medseg.workflows.readings_runs import training_cases
from medseg.workflows.telling import Progress

MOST_MODELS = 4  # colours that can be told apart in one figure


def invariance(
    model: Model | None,
    dataset: Dataset | str | Path,
    *,
    out: str | Path,
    versus: Sequence[Model] = (),
    predictions: str | Path | None = None,
    model_labels: ModelLabelsSource = None,
    transforms: Sequence[str] | str | None = None,
    doses: Doses | Sequence[str] | None = None,
    quick: bool = False,
    cases: int | None = None,
    split: str | None = None,
    margin: float = 0.05,
    seed: int = 0,
    checkpoint: str = "best",
    device: str = "auto",
    name: str | None = None,
    images: bool = True,
    allow_missing: bool = False,
    overwrite: bool = False,
    progress: Progress = lambda what, done, total, note: None,
) -> dict[str, Any]:
    """Dose-response curves of a model; writes `invariance.json`, `invariance.csv` and `report.html`.

    A test that was cut off is taken up again by the same call: scores of runs are kept in `out/scored`.

    Args:
        model: folder of a run, or a function from a `Volume` to labels (X, Y, Z) on its grid or a `Prediction`; None
            where there are `predictions`.
        dataset: a Dataset, or its `dataset.yaml` or folder. Without readers and truth only the equivariance is told.
        versus: further models (or folders of predictions, where there are `predictions`) to compare with, on the same
            inputs.
        predictions: folder of `<transform>/<dose>/<case>.nii.gz` and `identity/<case>.nii.gz` that another tool
            predicted from what `export_inputs` wrote.
        model_labels: what the label values of `predictions` mean, as in `agree`; by default the data set's own.
        transforms, doses, quick: see `build_plan`; of `predictions` by default the doses that have a folder.
        cases: only the first so many.
        split: only the cases of this split.
        margin: largest drop of mean Dice that does not matter.
        seed: of noise, hidden cubes and the bootstrap.
        checkpoint, device: of runs, as in `predict`.
        name: of the model in the result; by default that of its folder or function.
        images: show CT slices in the report.
        allow_missing: go on where predictions are missing; they are listed in the result.
        progress: called with (what, done, total, note) after each prediction.

    Returns:
        What `invariance.json` holds.

    Raises:
        UsageError: options out of range or that exclude each other, no case; LabelError: the labels of model and data
            set differ; FileReadError: predictions are missing; see also `predict`.
    """
    if (model is None) == (predictions is None):
        raise UsageError("one thing to test is needed", expected="a run (or a function), or --predictions DIR")
    source = open_dataset(dataset)
    check_raters(source)
    chosen = choose_cases(source, split, cases)
    if predictions is not None and transforms is None and doses is None and not quick:
        doses = found_doses(open_predictions(predictions, source.labels).folder)
        transforms = list(doses)
    if model_labels is not None and predictions is None:
        raise UsageError("a map of labels is for --predictions only", where="--model-labels",
                         do="A run knows its labels; let a function return those of the data set.")  # fmt: skip
    plan = build_plan(transforms, doses, quick=quick, margin=margin, seed=seed)
    cached = check_out(out, overwrite=overwrite)
    if predictions is None:
        models = _models([model, *versus], checkpoint, device, name)
    else:
        models = _folders(source, [predictions, *versus], model_labels)
    _check_names(models)
    labels = label_set_of(source, {each.name: each.labels for each in models})
    missing = {each.name: check_predictions(each, [entry.id for entry in chosen], plan.steps, allow=allow_missing)
               for each in models if isinstance(each, PredictedFolder)}  # fmt: skip
    tests = [ChallengedCase(source, entry, labels) for entry in chosen]
    lines, kept = _score_all(tests, models, plan, cached, progress)
    tested = Tested(source, [case.entry for case in tests], [each.name for each in models], labels, plan, lines,
                    notes=_notes(source, chosen, model, versus, missing), missing=missing, split=split)  # fmt: skip
    result = plain(summarise(tested))
    pictures = worst_pictures(result, tested, models[0], images=images, progress=progress)
    folder = open_out(out)
    cached.keep(kept)
    write_invariance(folder, result, tested, pictures)
    return result


def choose_cases(dataset: Dataset, split: str | None, cases: int | None) -> list[CaseEntry]:
    """The first `cases` of a split, in the order of the file; all of them for None.

    Raises:
        UsageError: fewer than one is asked for; InputError: there is none.
    """
    if cases is not None and cases < 1:
        raise UsageError("too few cases", where="--cases", expected="at least 1", got=str(cases))
    entries = dataset.select(split)[:cases]
    if not entries:
        raise InputError(f"no case of split '{split}'" if split else "no case", where="dataset.yaml")
    if absent := [entry.id for entry in entries if not entry.image.exists()]:
        raise FileReadError(f"{len(absent)} images are not there", where="dataset.yaml", got=listed(absent),
                            do="Check the paths.")  # fmt: skip
    return list(entries)


def _models(given: Sequence[Model | None], checkpoint: str, device: str, name: str | None) -> list[Judged]:
    found: list[Judged] = []
    for each in given:
        assert each is not None
        found.append(open_model(each, checkpoint=checkpoint, device=device, name=None if found else name))
    return found


def _folders(dataset: Dataset, given: Sequence[Model], mapping: ModelLabelsSource) -> list[Judged]:
    found: list[Judged] = []
    for each in given:
        if not isinstance(each, str | Path):
            raise UsageError("a function cannot be compared with a folder of predictions", where="--versus")
        found.append(open_predictions(each, dataset.labels, mapping))
    return found


def _check_names(models: Sequence[Judged]) -> None:
    if len(models) > MOST_MODELS:
        raise UsageError("too many models", where="--versus", expected=f"at most {MOST_MODELS - 1}",
                         got=str(len(models) - 1))  # fmt: skip
    names = [each.name for each in models]
    if len(set(names)) < len(names):
        raise UsageError("two models have one name", where="--versus", got=", ".join(names),
                         do="Rename one of the folders, so that tables and figures can tell them apart.")  # fmt: skip


def _score_all(
    tests: Sequence[ChallengedCase], models: Sequence[Judged], plan: Plan, cached: DoseCache, progress: Progress
) -> tuple[dict[str, list[Line]], set[str | None]]:
    """The lines of every model, and the keys of what is kept on disk."""
    lines: dict[str, list[Line]] = {model.name: [] for model in models}
    kept: set[str | None] = set()
    total, done = len(tests) * len(models) * (len(plan.steps) + 1), 0

    def told(note: str) -> None:
        nonlocal done
        done += 1
        progress("Predicting", done, total, note)

    for case in tests:
        keys = {model.name: cached.key(case, model, plan.seed) for model in models}
        for name, found in score_models(case, models, keys, plan, cached, told).items():
            lines[name] += found
        kept |= set(keys.values())
        case.forget()
    return lines, kept


def _notes(
    dataset: Dataset,
    chosen: Sequence[CaseEntry],
    model: Model | None,
    versus: Sequence[Model],
    missing: Mapping[str, Sequence[str]],
) -> list[str]:
    """What a reader of the report must know about the input."""
    notes = [f"{len(files)} predictions of {name} are missing; what they would have shown is left out."
             for name, files in missing.items() if files]  # fmt: skip
    if not any(entry.raters or entry.truth for entry in chosen):
        notes.append("The data set has no reference: only the equivariance is told, nothing about accuracy.")
    patients = {entry.patient for entry in chosen}
    if len(patients) < 2:
        notes.append("All cases are of one patient: no interval over patients can be given.")
    for run in (each for each in (model, *versus) if isinstance(each, str | Path)):
        known = {entry.id: entry.patient for entry in dataset.cases}
        try:
            seen = {known.get(case, case) for case in training_cases(Path(run))} & patients
        except (FileReadError, ConfigError):
            continue  # a run without folds says nothing about its training
        if seen:
            notes.append(f"{len(seen)} of {len(patients)} patients were seen by {Path(run).name} in training: its "
                         "accuracy on them is no measure of new patients.")  # fmt: skip
    return notes
