"""Runs and folds that predict together: what they must have in common, and the coarser runs of cascades."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from medseg.data.folds import run_folders
from medseg.errors import CheckpointError, ConfigError
from medseg.imaging.labels import LabelSet
from medseg.inference.sliding_window import InferenceConfig
from medseg.preprocessing.plan import Plan
from medseg.workflows.mirroring import AXES, learned_axes, swap_rule
from medseg.workflows.outputs import sha256
from medseg.workflows.recipe import Recipe

LOW = "low"  # the coarser run of a cascade, inside its folder
ONE_BY_ONE = "Predict with them one by one."


class Run(Protocol):
    """What is compared of a `run.Run`."""

    @property
    def folder(self) -> Path: ...

    @property
    def recipe(self) -> Recipe: ...

    @property
    def plan(self) -> Plan: ...

    @property
    def labels(self) -> LabelSet: ...


def check_together(runs: Sequence[Run], config: InferenceConfig) -> None:
    """Refuses runs or folds whose networks cannot be asked about the same tiles in the same way.

    Args:
        config: the sliding window of all of them.

    Raises:
        CheckpointError: they differ in labels, grid, patch, body crop, being a cascade or its coarser run.
        ConfigError: they would be asked about mirrored views that not all have learned, or not by one rule.
    """
    first = runs[0]
    lows = [_low_hashes(run.folder) for run in runs] if first.recipe.cascade and len(runs) > 1 else [[]] * len(runs)
    for run, low in zip(runs[1:], lows[1:], strict=True):
        for what, own, other in (
            ("labels", run.labels, first.labels),
            ("spacing", run.plan.spacing_mm, first.plan.spacing_mm),
            ("patch", run.plan.patch, first.plan.patch),
            ("body crop", run.plan.preprocessing, first.plan.preprocessing),
            ("being a cascade", run.recipe.cascade is None, first.recipe.cascade is None),
            ("the coarser run of their cascades", low, lows[0]),
        ):
            if own != other:
                raise CheckpointError(f"the folds or runs that are to predict together differ in {what}",
                                      where=run.folder.name, do=ONE_BY_ONE)  # fmt: skip
        _check_views(run, first, config)


def _check_views(run: Run, first: Run, config: InferenceConfig) -> None:
    """All are asked about the mirrored views that the first run's recipe names."""
    wanted = set(config.mirror_axes)
    if unknown := sorted(wanted - learned_axes(run.recipe)):
        raise ConfigError("the first run is asked about mirrored views that this one never learned",
                          where=f"{run.folder.name}, inference.mirror_axes",
                          got=", ".join(AXES[axis] for axis in unknown),
                          do="Name this run first, whose views all can be asked about, or predict with them one by "
                             "one.")  # fmt: skip
    if wanted and run.labels.mirror_pairs and swap_rule(run.recipe) != swap_rule(first.recipe):
        raise ConfigError("the runs learned to exchange left and right by different rules", where=run.folder.name,
                          expected=swap_rule(first.recipe), got=swap_rule(run.recipe), do=ONE_BY_ONE)  # fmt: skip


def low_folders(run: Path) -> list[Path]:
    """The coarser run of a cascade, or its folds; empty for a run that is no cascade."""
    return run_folders(run / LOW)


def _low_hashes(run: Path) -> list[str]:
    """Weights and recipes of the coarser run."""
    files = [folder / name for folder in low_folders(run) for name in ("checkpoints/best.safetensors", "recipe.yaml")]
    return [sha256(file) for file in files]
