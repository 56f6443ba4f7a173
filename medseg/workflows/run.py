"""The run folder: everything needed to go on training, to predict, and to repeat the run.

```
RUN/recipe.yaml    the recipe with all defaults filled in and overrides applied
    run.json       plan, labels, versions, seed
    folds.json     who trains, who validates
    log.jsonl      loss, learning rate, validation Dice
    curves.svg
    checkpoints/   best and last, .safetensors and .json
    fold_<k>/      the same once more, for runs of several folds; then RUN itself holds folds.json alone
```
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medseg.config import build_config
from medseg.data.folds import run_folders
from medseg.errors import CheckpointError, FileReadError, UsageError
from medseg.files import write_text
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.volume import Volume
from medseg.inference import predictor as engine
from medseg.inference.around import Around
from medseg.inference.asked import Asked
from medseg.inference.budget import Budget, read_size
from medseg.inference.network import on_device
from medseg.inference.predictor import ALONE, LABELS_ALONE
from medseg.inference.study import StandardisedStudy
from medseg.models.cascade import Cascade
from medseg.models.raters import RATER_NETWORKS, RaterNetwork, build_rater_network
from medseg.preprocessing.plan import Plan
from medseg.shapes import IntArray
from medseg.training.checkpoint import Checkpoint, read_checkpoint
from medseg.training.loop import choose_device
from medseg.workflows.mirroring import check_mirroring, swap_rule
from medseg.workflows.postprocessing_file import agreed_postprocessing
from medseg.workflows.recipe import Recipe, read_recipe
from medseg.workflows.run_together import LOW, check_together

SCHEMA = "medseg.run/1"
INDEX_BYTES = 12  # of a voxel, while the labels of a cascade's coarser run become class indices
LIBRARIES = ("medseg", "torch", "monai", "numpy")


@dataclass(frozen=True)
class Run:
    """A run folder with its recipe, plan and labels, and the raters whom its network knows (most know none)."""

    folder: Path
    recipe: Recipe
    plan: Plan
    labels: LabelSet
    raters: tuple[str, ...] = ()

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
        """The network of the recipe, with random weights; where it is to know raters, with what tells them apart."""

        def build(outputs: int) -> torch.nn.Module:
            return build_network(self.recipe, self.plan, classes, outputs)

        classes, mode = len(self.labels.names), self.recipe.raters
        if mode not in RATER_NETWORKS:
            return build(classes)
        return build_rater_network(mode, build, classes, len(self.raters))  # type: ignore[arg-type]

    def load(self, which: str, *, first_of: Sequence[str] = ()) -> Checkpoint:
        """A checkpoint of this run, or of its parts only the first of these that it has, see `read_checkpoint`.

        Raises:
            FileReadError: there is none.
            CheckpointError: it is corrupted or was made for other labels or another network.
        """
        checkpoint = read_checkpoint(self.checkpoint_file(which), first_of=first_of)
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

    def load_model(self, which: str, as_rater: str | None = None) -> torch.nn.Module:
        """The network with trained weights, ready to predict; like one of its raters, or None for the consensus.

        Where the training kept a running average of the weights (`training.ema`), with the average.

        Raises:
            UsageError: the network knows no rater of that name.
        """
        rater = None if as_rater is None else self.rater_index(as_rater)
        model = self.build_model()
        checkpoint = self.load(which, first_of=("ema", "model"))
        try:
            model.load_state_dict(checkpoint.part("ema") or checkpoint.part("model"))
        except RuntimeError as error:
            raise CheckpointError("the checkpoint belongs to another network", where=f"checkpoints/{which}.safetensors",
                                  do="Use the checkpoint that this run wrote.") from error  # fmt: skip
        return (model.as_rater(rater) if isinstance(model, RaterNetwork) else model).eval()

    def rater_index(self, name: str) -> int:
        """The number of a rater whom the network knows.

        Raises:
            UsageError: it knows none of that name; says whom it knows.
        """
        if name in self.raters:
            return self.raters.index(name)
        known = ", ".join(self.raters) or "a run trained with raters: heads, conditioned or crowd"
        got = f"{name}, and a network that knows no raters" if not self.raters else name
        raise UsageError("no such rater in this run", where="--as-rater", expected=known, got=got,
                         do="Leave it out to predict the consensus.")  # fmt: skip


def build_network(recipe: Recipe, plan: Plan, classes: int, outputs: int) -> torch.nn.Module:
    """The recipe's network; in a cascade with one more channel for each class but the background."""
    if recipe.cascade is None:
        return recipe.model.build(1, outputs, plan.patch)
    return Cascade(recipe.model.build(classes, outputs, plan.patch), classes)


def write_run(run: Run) -> None:
    """Writes `run.json`."""
    facts: dict[str, Any] = {
        "schema": SCHEMA,
        "labels": dict(run.labels.values),
        "mirror_pairs": [list(pair) for pair in run.labels.mirror_pairs],
        "ignore": run.labels.ignore,
        "plan": run.plan.model_dump(mode="json"),
        "raters": list(run.raters),
        "seed": run.recipe.training.seed,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    }
    write_text(run.folder / "run.json", json.dumps(facts, indent=1) + "\n")


def record(run: Run, **facts: Any) -> None:
    """Writes facts of the training's course into `run.json`, under `training`; those of before stay.

    Nothing of the machine, its user or its folders.

    Raises:
        FileReadError: `run.json` is gone or damaged.
    """
    found = _read_facts(run.folder)
    found["training"] = {**found.get("training", {}), **facts}
    write_text(run.folder / "run.json", json.dumps(found, indent=1) + "\n")


def recorded(folder: Path) -> dict[str, Any]:
    """What `record` wrote so far; empty for a run of an older version.

    Raises:
        FileReadError: `run.json` is gone or damaged.
    """
    return _read_facts(folder).get("training", {})


def _read_facts(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "run.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise FileReadError("run.json cannot be read", where=folder.name, got=type(error).__name__) from error


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
        raters = tuple(map(str, facts.get("raters", ())))
    except (FileNotFoundError, NotADirectoryError):
        raise FileReadError("not a run folder", where=folder.name, expected="a folder that `medseg train` wrote",
                            do="Check the path.") from None  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileReadError("run.json cannot be read", where=folder.name, got=type(error).__name__) from error
    return Run(folder, read_recipe(folder / "recipe.yaml"), plan, labels, raters)


@dataclass(frozen=True, eq=False)
class Predictor(engine.Predictor):
    """One loaded model: `predictor(volume)` gives a Prediction on the study's own grid; safe from several threads.

    Example:
        predictor = Predictor.from_run("run", ram="8G")
        prediction = predictor(read_volume("ct.nii.gz"))
    """

    low: Predictor | None = None

    @classmethod
    def from_run(
        cls,
        run: str | Path | Sequence[str | Path],
        *,
        checkpoint: str = "best",
        device: str = "auto",
        as_rater: str | None = None,
        ram: str | int | None = None,
        vram: str | int | None = None,
        postprocessing: bool = True,
        **options: Any,
    ) -> Predictor:
        """The predictor of a run; the folds that it holds (`fold_<k>`) and several runs are averaged.

        Args:
            run: one run folder, or several of one label set, grid and patch; the first one's `inference` counts.
            checkpoint: `best` or `last`.
            device: `auto`, `cpu` or `cuda`.
            as_rater: name of the rater to predict like; None predicts the consensus.
            ram: the most memory of the whole process, such as `8G`.
            vram: the most memory of the GPU.
            postprocessing: whether to apply the run's `postprocessing.yaml`, where it has one; of several runs where
                they agree.
            options: `may_use_cpu`, `scratch`, `say` and `config`, see the fields.

        Raises:
            FileReadError, CheckpointError: see `open_run` and `Run.load`; the runs do not go together.
            UsageError: no size of a memory; a network knows no rater of that name.
            ConfigError: the recipe asks for mirrored views that not every run has learned, or `postprocessing.yaml` is
                wrong.
        """
        given = [run] if isinstance(run, str | Path) else list(run)
        runs = [open_run(path) for folder in map(Path, given) for path in run_folders(folder) or [folder]]
        first = runs[0]
        config = options.pop("config", first.recipe.inference)
        check_together(runs, config)
        check_mirroring(first.recipe.model_copy(update={"inference": config}), first.labels)
        budget = Budget(read_size(ram, where="--ram"), read_size(vram, where="--vram"))
        chosen = choose_device(device)
        models = on_device([run.load_model(checkpoint, as_rater) for run in runs], chosen,
                           **{key: options[key] for key in ("may_use_cpu", "say") if key in options})  # fmt: skip
        agreed = agreed_postprocessing(given, first.labels)[0] if postprocessing else None
        low = None
        if first.recipe.cascade is not None:
            low = cls.from_run(first.folder / LOW, checkpoint="best", device=device, ram=ram, vram=vram,
                               postprocessing=False, **options)  # fmt: skip
        return cls(models, [run.plan for run in runs], first.labels, config, swap_rule(first.recipe), budget, **options,
                   steps=agreed.built if agreed else (), experts=as_rater is None and _same_experts(runs),
                   low=low)  # fmt: skip

    def standardise(self, volume: Volume, asked: Asked = LABELS_ALONE, around: Around = ALONE) -> StandardisedStudy:
        """The study on the plan's grid; in a cascade with what the coarser run finds there."""
        study = super().standardise(volume, asked, around)
        if self.low is None:
            return study
        return replace(study, coarse=self.low.classes(study.hu, study.geometry))

    def classes(self, hu: IntArray, geometry: Geometry) -> IntArray:
        """The class indices (int8 or int16) that this run gives a standardised study, on the study's grid."""
        study = Volume(hu, geometry)  # type: ignore[arg-type]  # int16: float32 would be twice the memory
        found = self.label_set.to_indices(self(study).labels)
        return found.astype(np.int8 if len(self.label_set.names) <= np.iinfo(np.int8).max else np.int16)

    def _coarse_bytes(self, standard: Geometry) -> int:
        if self.low is None:
            return 0
        return self.low.least_bytes(standard) + INDEX_BYTES * prod(standard.shape)


def _same_experts(runs: Sequence[Run]) -> bool:
    """Whether every network knows several experts, and all the same."""
    known = {run.raters if run.recipe.raters in RATER_NETWORKS else () for run in runs}
    return len(known) == 1 and len(known.pop()) > 1


def load_predictor(
    folder: str | Path, *, which: str = "best", device: str = "auto", as_rater: str | None = None
) -> Predictor:
    """`Predictor.from_run` without its options."""
    return Predictor.from_run(folder, checkpoint=which, device=device, as_rater=as_rater)
