"""A cascade: the run on a coarser grid whose predictions a training takes as further channels.

The coarser run is copied into `RUN/low`, so that the run folder holds all that prediction needs.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from medseg.data.folds import FILE, read_folds, run_folders
from medseg.data.store import StoredCase
from medseg.errors import ConfigError, FileReadError
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.shapes import IntArray
from medseg.workflows.cascading_answers import answer_key, fingerprint, kept_answer
from medseg.workflows.recipe import Recipe
from medseg.workflows.run import LOW, Predictor, Run, open_run
from medseg.workflows.telling import Progress, Say

COPIED = ("recipe.yaml", "run.json", FILE, "checkpoints/best.safetensors", "checkpoints/best.json")


def check_low(recipe: Recipe, labels: LabelSet) -> None:
    """Refuses a coarser run that is none, that was trained for other labels, or that is a cascade itself.

    Raises:
        ConfigError, FileReadError: see above.
    """
    for folder in _folders(Path(recipe.cascade)) if recipe.cascade else ():
        low = open_run(folder)
        if low.labels != labels:
            raise ConfigError("a low-resolution run of other labels", where="cascade", got=", ".join(low.labels.names),
                              expected=", ".join(labels.names))  # fmt: skip
        if low.recipe.cascade:
            raise ConfigError("a cascade of a cascade", where="cascade", got=folder.name,
                              do="Name the run of the coarser grid.")  # fmt: skip
        if not low.checkpoint_file("best").is_file():
            raise ConfigError("the low-resolution run has no best checkpoint yet", where="cascade", got=folder.name,
                              do="Train it to its end.")  # fmt: skip


def take_over(recipe: Recipe, run: Path) -> None:
    """Copies the coarser run into the run's folder: its best weights, and who was held out by which fold."""
    if not recipe.cascade:
        return
    root = Path(recipe.cascade)
    for folder in [root, *_folders(root)]:
        for name in COPIED:
            source, target = folder / name, run / LOW / folder.relative_to(root) / name
            if source.is_file() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)


def with_low(run: Run, cases: Sequence[StoredCase], say: Say, progress: Progress) -> list[StoredCase]:
    """The cases with what the coarser run predicts of each; as they are where there is no cascade.

    Of a case that a fold held out, that fold's network alone is asked; of a case that none of them knows, all. Answers
    are kept in the run's folder.
    """
    if not run.recipe.cascade:
        return list(cases)
    device, root = run.recipe.training.device, run.folder / LOW
    folders = _folders(root)
    held_out = {case: folder for folder in folders for case in _held_out(folder)}
    known = {case for folder in folders for fold in read_folds(folder / FILE) for case in fold}
    prints = {folder: fingerprint(folder) for folder in folders}
    made: dict[Path, Predictor] = {}
    found, repeated = [], 0
    for done, case in enumerate(cases, 1):
        chosen = held_out.get(case.id, root)
        repeated += case.id in known and case.id not in held_out
        geometry = Geometry(tuple(case.hu.shape[1:]), np.diag([*run.plan.spacing_mm, 1.0]))  # type: ignore[arg-type]
        hu = case.hu[:][0].numpy()

        def ask(chosen: Path = chosen, hu: IntArray = hu, geometry: Geometry = geometry) -> IntArray:
            if chosen not in made:
                made[chosen] = Predictor.from_run(chosen, device=device, postprocessing=False)
            return made[chosen].classes(hu, geometry)

        coarse = kept_answer(
            run.folder, answer_key([prints[each] for each in _folders(chosen)], hu, geometry), ask, say
        )
        found.append(replace(case, coarse=torch.from_numpy(coarse)[None]))
        progress("Asking the low-resolution run", done, len(cases), "")
    if repeated:
        say(f"The low-resolution run has learned from {repeated} of the {len(cases)} cases that it is asked about, so "
            "it is better there than on new ones. Train all its folds first: medseg train ... --fold each."
        )  # fmt: skip
    return found


def _folders(root: Path) -> list[Path]:
    found = run_folders(root)
    if not found:
        raise FileReadError("not a run folder", where=root.name, expected="a folder that `medseg train` wrote",
                            do="Check `cascade:` in the recipe.")  # fmt: skip
    return found


def _held_out(folder: Path) -> list[str]:
    fold = open_run(folder).recipe.folds.fold
    return [] if fold == "all" else list(read_folds(folder / FILE)[int(fold)])
