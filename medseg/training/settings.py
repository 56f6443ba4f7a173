"""What a recipe says about the training itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from medseg.config import Config
from medseg.training.optim import AdamWConfig, OptimizerConfig, ScheduleConfig


class EarlyStoppingConfig(Config):
    """Stops after `patience` validations in a row without a gain of more than `min_delta` in mean Dice."""

    patience: int = Field(default=10, gt=0)
    min_delta: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class TrainingConfig(Config):
    """Steps are optimiser steps. `validate_every` and `checkpoint_every` count steps; both also happen at the end,
    and nothing stays unsaved for more than ten minutes.

    Args:
        batch: patches per step, on all devices together.
        accumulate: parts in which each device computes its patches one after the other, for less memory.
        learning_rate_scale: multiplies the optimiser's rate. It may be changed on resume, after a loss that exploded.
        ema: decay per step of the running average of the weights, such as 0.999; none: no average.
        validate_on: number of held-out cases in a validation along the way; none: all of them.
        augment_on: the `loader`'s processes augment patch by patch, or the `device` a whole batch in the step; `auto`
            is the device on CUDA, else the loader.
        precision: of the forward and backward pass; `auto` is bf16 on CUDA where a check of it passes, else fp32.
        compile: torch.compile on CUDA; `auto` where it is measured to be faster.
    """

    steps: int = Field(default=1000, gt=0)
    batch: int = Field(default=2, gt=0)
    accumulate: int = Field(default=1, gt=0)
    seed: int = Field(default=0, ge=0)
    optimizer: OptimizerConfig = AdamWConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    learning_rate_scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    clip_norm: float = Field(default=12.0, gt=0)
    ema: float | None = Field(default=None, gt=0, lt=1)
    early_stopping: EarlyStoppingConfig | None = None
    validate_every: int = Field(default=250, gt=0)
    validate_on: int | None = Field(default=None, gt=0)
    checkpoint_every: int = Field(default=100, gt=0)
    log_every: int = Field(default=10, gt=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    augment_on: Literal["auto", "loader", "device"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"

    @model_validator(mode="after")
    def _parts_are_equal(self) -> TrainingConfig:
        if self.batch % self.accumulate:
            raise ValueError(f"a batch of {self.batch} cannot be computed in {self.accumulate} equal parts")
        return self

    def augments_on(self, device: torch.device) -> Literal["loader", "device"]:
        """Where augmentation happens in a training on `device`."""
        if self.augment_on != "auto":
            return self.augment_on
        return "device" if device.type == "cuda" else "loader"

    def compared(self, cases: Sequence[str]) -> frozenset[str] | None:
        """The cases, out of those held out, of validations along the way, the same in each; None: all of them."""
        if self.validate_on is None or self.validate_on >= len(cases):
            return None
        order = np.random.default_rng(self.seed).permutation(len(cases))
        return frozenset(cases[int(number)] for number in order[: self.validate_on])

    def learning_rate(self, step: int) -> float:
        """Of the step that follows `step` finished ones."""
        return self.optimizer.learning_rate * self.schedule.factor(step, self.steps) * self.learning_rate_scale
