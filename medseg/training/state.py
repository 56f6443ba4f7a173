"""All that changes during training, and all that a resumed run needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from medseg.training.average import WeightAverage
from medseg.training.checkpoint import Checkpoint, pack_optimizer, unpack_optimizer
from medseg.training.settings import TrainingConfig


@dataclass
class TrainingState:
    """Where a training stands. The learning rate, the sampler and the random numbers of a step are functions of `step`
    and the recipe's seed, so the number of the step is their state.

    Args:
        step: optimiser steps done.
        best: highest mean Dice of a validation; None before the first.
        average: of the weights, where the recipe asks for one.
        validated: the last step after which there was a validation.
        reference: the mean Dice that early stopping wants to see exceeded.
        stale: validations in a row that did not.
        ended: whether early stopping has ended the training.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float | None = None
    average: WeightAverage | None = None
    validated: int = 0
    reference: float | None = None
    stale: int = 0
    ended: bool = False

    @property
    def predicting(self) -> nn.Module:
        """The network to validate and predict with: the average where there is one."""
        return self.model if self.average is None else self.average.model

    def pack(self, facts: dict[str, Any]) -> Checkpoint:
        """A checkpoint of this state; `facts` are stored with it."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in pack_optimizer(self.optimizer).items()}
        if self.average is not None:
            tensors |= {f"ema.{name}": tensor for name, tensor in self.average.model.state_dict().items()}
        tensors["random.torch"] = torch.get_rng_state()
        return Checkpoint(tensors, {**facts, **self.facts})

    def unpack(self, checkpoint: Checkpoint) -> None:
        """Takes over a packed state; the next step is the one that would have come."""
        self.model.load_state_dict(checkpoint.part("model"))
        unpack_optimizer(self.optimizer, checkpoint.part("optimizer"))
        if self.average is not None:
            self.average.model.load_state_dict(checkpoint.part("ema"))
        torch.set_rng_state(checkpoint.tensors["random.torch"])
        self.validated = checkpoint.facts["step"]  # of a checkpoint from before these facts were kept
        self.restore({name: checkpoint.facts.get(name, value) for name, value in self.facts.items()})

    @property
    def facts(self) -> dict[str, Any]:
        """All that is no tensor."""
        return {name: getattr(self, name) for name in _FACTS}

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Puts facts back."""
        for name, value in facts.items():
            setattr(self, name, value)

    def note_validation(self, mean: float, config: TrainingConfig) -> bool:
        """Takes in a validation's mean Dice; True when it is the best so far."""
        self.validated = self.step
        better = self.best is None or mean > self.best
        self.best = mean if better else self.best
        if (rule := config.early_stopping) is not None:
            gained = self.reference is None or mean > self.reference + rule.min_delta
            self.reference, self.stale = (mean, 0) if gained else (self.reference, self.stale + 1)
            self.ended = self.stale >= rule.patience
        return better


_FACTS = ("step", "best", "validated", "reference", "stale", "ended")


def new_state(model: nn.Module, config: TrainingConfig) -> TrainingState:
    """The state of a training before its first step."""
    average = None if config.ema is None else WeightAverage(model, config.ema)
    return TrainingState(model, config.optimizer.build(model), average=average)
