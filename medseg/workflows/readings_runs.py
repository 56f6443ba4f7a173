"""Who a medseg model was trained on, as its RUN folder says: nobody is judged on patients of the training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medseg.config import read_yaml
from medseg.data.folds import read_folds, split_fold
from medseg.errors import ConfigError, FileReadError, UsageError
from medseg.io.manifest import Dataset
from medseg.workflows.readings_case import listed

FOLDS_FILE, RECIPE_FILE = "folds.json", "recipe.yaml"


def training_cases(run: Path) -> set[str]:
    """Ids of all cases from which a run learned or by which it chose its checkpoint: those of every fold it trained.

    Raises:
        FileReadError: no run folder, or a damaged one.
        ConfigError: its recipe names no fold.
    """
    folders = (  # a run of folds has folds.json too, but no recipe of its own
        [run] if (run / RECIPE_FILE).is_file() else sorted(path.parent for path in run.glob(f"fold_*/{RECIPE_FILE}"))
    )
    if not folders:
        raise FileReadError("not a run folder", where=run.name, expected="a folder that `medseg train` wrote")
    seen: set[str] = set()
    for folder in folders:
        settings = read_yaml(folder / RECIPE_FILE).get("folds")
        fold = settings.get("fold", 0) if isinstance(settings, Mapping) else 0
        if fold != "all" and not isinstance(fold, int):
            raise ConfigError("folds.fold is no fold", where=RECIPE_FILE, expected="a number or all")
        learned, validated = split_fold(read_folds(folder / FOLDS_FILE), fold)
        seen.update(learned, validated)
    return seen


def learned_raters(runs: Mapping[str, Path], dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """Model to the raters from whose outlines it learned: those who read a case of this data set that its run saw.

    Nobody for anonymous raters, who are other people in every case.

    Raises:
        FileReadError, ConfigError: see `training_cases`.
    """
    if dataset.anonymous:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for model, run in runs.items():
        seen = training_cases(run)
        readers = {rater for entry in dataset.cases if entry.id in seen for rater in entry.raters}
        if readers:
            found[model] = tuple(rater for rater in dataset.raters if rater in readers)
    return found


def check_unseen(runs: Mapping[str, Path], cases: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Refuses to judge a model on patients whom its training saw.

    Args:
        runs: model to its RUN folder.
        cases: case to patient, of those that are judged.
        known: case to patient, of all that the data set has.

    Raises:
        UsageError: there are such cases.
        FileReadError, ConfigError: see `training_cases`.
    """
    for model, run in runs.items():
        patients = {known.get(case, case) for case in training_cases(run)}
        if seen := [case for case, patient in cases.items() if patient in patients]:
            raise UsageError(f"{len(seen)} of {len(cases)} cases are of patients whom {model} saw in training",
                             where=run.name, expected="patients that are new to the model", got=listed(seen),
                             do="Choose the cases that were kept aside, for example with --split test.")  # fmt: skip
