"""The run folder: everything needed to go on training, to predict, and to repeat the run.

```
RUN/recipe.yaml    the recipe with all defaults filled in and overrides applied
    run.json       plan, labels, versions, seed
    folds.json     who trains, who validates
    log.jsonl      loss, learning rate, validation Dice
    curves.svg
    checkpoints/   best and last, .safetensors and .json
    fold_<k>/      the same once more, for runs of several folds
```
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from medseg.config import build_config
from medseg.errors import CheckpointError, FileReadError
from medseg.files import write_text
from medseg.imaging.labels import LabelSet
from medseg.inference.predictor import Predictor
from medseg.preprocessing.plan import Plan
from medseg.training.checkpoint import Checkpoint, read_checkpoint
from medseg.training.loop import choose_device
from medseg.workflows.recipe import Recipe, read_recipe

SCHEMA = "medseg.run/1"
LIBRARIES = ("medseg", "torch", "monai", "numpy")


@dataclass(frozen=True)
class Run:
    """A run folder with its recipe, plan and labels."""

    folder: Path
    recipe: Recipe
    plan: Plan
    labels: LabelSet

    @property
    def folds_file(self) -> Path:
        return self.folder / "folds.json"

    @property
    def log_file(self) -> Path:
        return self.folder / "log.jsonl"

    def checkpoint_file(self, which: str) -> Path:
        """Where the `best` or `last` checkpoint lies."""
        return self.folder / "checkpoints" / f"{which}.safetensors"

    def build_model(self) -> torch.nn.Module:
        """The network of the recipe, with random weights."""
        return self.recipe.model.build(1, len(self.labels.names), self.plan.patch)

    def load(self, which: str) -> Checkpoint:
        """A checkpoint of this run.

        Raises:
            FileReadError: there is none.
            CheckpointError: it is corrupted or was made for other labels or another network.
        """
        checkpoint = read_checkpoint(self.checkpoint_file(which))
        stored = checkpoint.facts.get("labels")
        if stored != list(self.labels.names):
            raise CheckpointError(
                "the checkpoint was made for another label set",
                where=f"checkpoints/{which}.safetensors",
                expected=", ".join(self.labels.names),
                got=", ".join(map(str, stored or ["none"])),
                do="Use the checkpoint that this run wrote.",
            )
        return checkpoint

    def load_model(self, which: str) -> torch.nn.Module:
        """The network with trained weights, ready to predict."""
        model = self.build_model()
        try:
            model.load_state_dict(self.load(which).part("model"))
        except RuntimeError as error:
            raise CheckpointError("the checkpoint belongs to another network", where=f"checkpoints/{which}.safetensors",
                                  do="Use the checkpoint that this run wrote.") from error  # fmt: skip
        return model.eval()


def write_run(run: Run) -> None:
    """Writes `run.json`."""
    facts: dict[str, Any] = {
        "schema": SCHEMA,
        "labels": dict(run.labels.values),
        "mirror_pairs": [list(pair) for pair in run.labels.mirror_pairs],
        "ignore": run.labels.ignore,
        "plan": run.plan.model_dump(mode="json"),
        "seed": run.recipe.training.seed,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    }
    write_text(run.folder / "run.json", json.dumps(facts, indent=1) + "\n")


def open_run(folder: str | Path) -> Run:
    """Reads a run folder.

    Raises:
        FileReadError: it is no run folder, or one of its files cannot be read.
    """
    folder = Path(folder)
    try:
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        labels = LabelSet(facts["labels"], tuple((a, b) for a, b in facts["mirror_pairs"]), facts["ignore"])
        plan = build_config(Plan, facts["plan"], source="run.json")
    except (FileNotFoundError, NotADirectoryError):
        raise FileReadError("not a run folder", where=folder.name, expected="a folder that `medseg train` wrote",
                            do="Check the path.") from None  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileReadError("run.json cannot be read", where=folder.name, got=type(error).__name__) from error
    return Run(folder, read_recipe(folder / "recipe.yaml"), plan, labels)


def load_predictor(folder: str | Path, *, which: str = "best", device: str = "auto") -> Predictor:
    """A Predictor with the run's weights; the folds that the folder holds (`fold_<k>`) are averaged.

    Raises:
        FileReadError, CheckpointError: see `open_run` and `Run.load`; folds of different labels do not mix.
    """
    folder = Path(folder)
    folders = sorted(path for path in folder.glob("fold_*") if (path / "run.json").exists()) or [folder]
    runs = [open_run(path) for path in folders]
    first = runs[0]
    for run in runs[1:]:
        if run.labels != first.labels or run.plan.spacing_mm != first.plan.spacing_mm:
            raise CheckpointError("the folds of the run differ in labels or spacing", where=run.folder.name)
    chosen = choose_device(device)
    models = [run.load_model(which).to(chosen) for run in runs]
    return Predictor(models, [run.plan for run in runs], first.labels, first.recipe.inference)
