"""The file that `medseg plan` writes and that `train` and `preprocess` read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from medseg.config import Config, read_config
from medseg.errors import ConfigError
from medseg.models.registry import ModelConfig
from medseg.preprocessing.plan import Plan, PreprocessingConfig, StageName
from medseg.preprocessing.planning import DataFingerprint
from medseg.shapes import IntTriple, Triple

Precision = Literal["bf16", "fp32"]


class PlannedStage(Config):
    """One network of the plan.

    Args:
        spacing_mm: of its grid.
        median_shape: voxels of the median training case on this grid.
        patch, batch, model: what a training step takes.
        estimate_gib: graphics memory of a step, counted.
        measured_gib: the same of a real step; null where no GPU was there to measure it.
    """

    spacing_mm: Triple
    median_shape: IntTriple
    patch: IntTriple
    batch: int
    model: ModelConfig
    estimate_gib: float
    measured_gib: float | None = None


class PlanFile(Config):
    """What `medseg plan` writes.

    Args:
        vram_gib, precision: what the plan was made for.
        cases: how many were measured; training cases only.
        data: a code of each case that was measured, by which the data set is known again; null in older plans.
        fingerprint: what they are like; null in older plans.
        labels: name to value, as in the data set.
        volumes_ml: median over the cases that hold the structure, and in how many it occurs.
        stage: the network on the full grid.
        low_resolution: a coarser one to run first, where the patch sees less than a quarter of the median case.
        reasons: of each decision.
    """

    format: Literal["medseg.plan/1"] = "medseg.plan/1"
    vram_gib: float
    precision: Precision
    cases: int
    data: str | None = None
    fingerprint: DataFingerprint | None = None
    labels: dict[str, int]
    volumes_ml: dict[str, tuple[float, int]]
    window_hu: tuple[float, float]
    mean_hu: float
    std_hu: float
    preprocessing: PreprocessingConfig
    stage: PlannedStage
    low_resolution: PlannedStage | None
    reasons: dict[str, str]

    def decision(self, name: str) -> str:
        """One of the decisions that `reasons` gives reasons for, in words."""
        if name == "low_resolution":
            coarse = self.low_resolution
            return "no" if coarse is None else f"{_times(coarse.spacing_mm)} mm, patch {_times(coarse.patch)}"
        value = {
            "spacing_mm": f"{_times(self.stage.spacing_mm)} mm",
            "preprocessing": f"the body and {self.preprocessing.margin_mm:g} mm around it"
            if self.preprocessing.crop_to_body
            else "whole images",
            "window_hu": f"{self.window_hu[0]:g} to {self.window_hu[1]:g} HU",
            "patch": f"{_times(self.stage.patch)} voxels",
            "batch": f"{self.stage.batch} patches",
            "network": f"{self.stage.model.name}",
            "memory": f"{self.stage.measured_gib or self.stage.estimate_gib:g} GiB a step",
        }
        return value[name]

    def planned(self, stage: StageName) -> PlannedStage:
        """The stage on the full grid, or the coarser one.

        Raises:
            ConfigError: the plan has no coarser one, and why.
        """
        if stage == "full":
            return self.stage
        if self.low_resolution is None:
            raise ConfigError("the plan has no low-resolution stage", where="stage", got=self.reasons.get(
                "low_resolution", "low"), do="Train the full stage alone.")  # fmt: skip
        return self.low_resolution

    def plan(self, stage: StageName = "full") -> Plan:
        """Grid and normalisation of a stage."""
        chosen = self.planned(stage)
        return Plan(
            patch=chosen.patch, spacing_mm=chosen.spacing_mm, window_hu=self.window_hu, mean_hu=self.mean_hu,
            std_hu=self.std_hu, preprocessing=self.preprocessing,
        )  # fmt: skip


def read_plan(path: str | Path) -> PlanFile:
    """A plan that `medseg plan` wrote.

    Raises:
        FileReadError, ConfigError: naming file, line and key.
    """
    return read_config(path, PlanFile)


def _times(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:g}" for value in values)
