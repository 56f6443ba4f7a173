"""`medseg train --fold each`: all folds, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.training.distributed import is_first
from medseg.workflows.recipe import Recipe, read_recipe
from medseg.workflows.training import Say, Training, train
from medseg.workflows.training_run import count_folds


def train_folds(
    recipe: Recipe | str | Path,
    overrides: Sequence[str] = (),
    *,
    out: str | Path,
    resume: bool = False,
    say: Say = lambda text: None,
    **options: Any,
) -> list[Training]:
    """Trains every fold, one after another, each as `train(..., fold=k)` does; ends with one that is interrupted.

    Args:
        resume: folds that are finished stay as they are, the one that was cut off goes on, the others begin.
        options: `init`, `overwrite` and `progress` of `train`.

    Raises:
        as `train`.
    """
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe, overrides)
    trainings: list[Training] = []
    for fold in range(count_folds(recipe)):
        if is_first():
            say(f"Fold {fold}:")
        trainings.append(train(recipe, out=out, fold=fold, resume=resume, say=say, **options))
        if not trainings[-1].finished:
            break
    return trainings
