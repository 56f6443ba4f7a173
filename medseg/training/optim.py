"""Optimisers and learning-rate schedules; the rate is a pure function of the step, so it needs no saved state."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from medseg.config import Config


class AdamWConfig(Config):
    name: Literal["adamw"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)


class SGDConfig(Config):
    name: Literal["sgd"] = "sgd"
    learning_rate: float = Field(default=1e-2, gt=0)
    weight_decay: float = Field(default=3e-5, ge=0)
    momentum: float = Field(default=0.99, ge=0, lt=1)

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            model.parameters(),
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            nesterov=self.momentum > 0,
        )


OptimizerConfig = Annotated[AdamWConfig | SGDConfig, Field(discriminator="name")]


class ScheduleConfig(Config):
    """Linear warm-up, then `cosine` to zero or polynomial decay `(1 - t) ** power`."""

    name: Literal["cosine", "poly"] = "cosine"
    warmup_steps: int = Field(default=0, ge=0)
    power: float = Field(default=0.9, gt=0)

    def factor(self, step: int, steps: int) -> float:
        """Share of the full learning rate at `step` (from 0) of `steps`.

        >>> ScheduleConfig(name="poly", power=1.0).factor(5, 10)
        0.5
        """
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        done = (step - self.warmup_steps) / max(steps - self.warmup_steps, 1)
        return 0.5 * (1 + math.cos(math.pi * done)) if self.name == "cosine" else (1 - done) ** self.power


def preferred(optimizer: str, learning_rate: float, steps: int) -> tuple[OptimizerConfig, ScheduleConfig]:
    """Optimiser and schedule for a network that prefers `sgd` or `adamw` at this learning rate.

    SGD goes with nnU-Net's momentum of 0.99 and its polynomial decay; AdamW with a warm-up of 5 % of the steps, at most
    1000, without which a transformer's first steps are too large, and a cosine.

    >>> preferred("adamw", 1e-4, 5000)[1].warmup_steps
    250
    """
    if optimizer == "sgd":
        return SGDConfig(learning_rate=learning_rate), ScheduleConfig(name="poly")
    schedule = ScheduleConfig(name="cosine", warmup_steps=min(1000, steps // 20))
    return AdamWConfig(learning_rate=learning_rate, weight_decay=1e-5), schedule
