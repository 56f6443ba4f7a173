"""Who trains and who validates: drawn once per data set, by patient, and written down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from medseg.config import Config
from medseg.errors import ConfigError, FileReadError
from medseg.files import write_text


class FoldsConfig(Config):
    """`count` folds; `fold` is held out for validation, `all` trains on every case."""

    count: int = Field(default=5, ge=2)
    fold: int | Literal["all"] = 0


def draw_folds(patients: Mapping[str, str], count: int, seed: int) -> list[list[str]]:
    """Case ids per fold; cases of one patient stay together, fold sizes differ as little as that allows.

    Args:
        patients: case id to patient.

    Raises:
        ConfigError: there are fewer patients than folds.

    Example:
        >>> draw_folds({"a": "p", "b": "p", "c": "q"}, 2, seed=0)
        [['a', 'b'], ['c']]
    """
    groups: dict[str, list[str]] = {}
    for case, patient in sorted(patients.items()):
        groups.setdefault(patient, []).append(case)
    if len(groups) < count:
        raise ConfigError("fewer training patients than folds", where="folds.count", expected=f"at most {len(groups)}",
                          got=str(count), do="Lower folds.count, or set folds.fold=all.")  # fmt: skip
    shuffled = np.random.default_rng(seed).permutation(sorted(groups))
    folds: list[list[str]] = [[] for _ in range(count)]
    for patient in sorted(shuffled, key=lambda p: -len(groups[p])):  # stable: large patients first, else as shuffled
        min(folds, key=len).extend(groups[patient])
    return [sorted(fold) for fold in folds]


def write_folds(path: Path, folds: Sequence[Sequence[str]]) -> None:
    write_text(path, json.dumps({"schema": "medseg.folds/1", "folds": folds}, indent=1) + "\n")


def read_folds(path: Path) -> list[list[str]]:
    """The folds that `write_folds` wrote.

    Raises:
        FileReadError: the file is missing or damaged.
    """
    try:
        return [[str(case) for case in fold] for fold in json.loads(path.read_text(encoding="utf-8"))["folds"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileReadError(
            "the folds cannot be read",
            where=path.name,
            got=type(error).__name__,
            do="Start a new run; drawing folds anew would mix training and validation.",
        ) from error


def split_fold(folds: Sequence[Sequence[str]], fold: int | str) -> tuple[list[str], list[str]]:
    """Case ids to train on and to validate on (none for `all`)."""
    if fold == "all":
        return sorted(case for each in folds for case in each), []
    if not 0 <= int(fold) < len(folds):
        raise ConfigError("no such fold", where="folds.fold", expected=f"0 to {len(folds) - 1} or all", got=str(fold))
    return sorted(case for i, each in enumerate(folds) if i != fold for case in each), list(folds[int(fold)])
