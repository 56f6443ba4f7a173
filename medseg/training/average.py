"""The running average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class WeightAverage:
    """An exponential moving average (EMA) of the weights, as a network of its own that only predicts.

    The decay of step n is at most (1 + n) / (10 + n), so that the average forgets the random weights of the start
    (the rule of TensorFlow's ExponentialMovingAverage). Buffers are copied.

    Args:
        model: the network whose weights are averaged; it is copied.
        decay: share of the old average that a step keeps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Takes in the weights after `step` (from 1) steps."""
        kept = min(self.decay, (1 + step) / (10 + step))
        for mean, weight in zip(self.model.parameters(), model.parameters(), strict=True):
            mean.lerp_(weight, 1 - kept)
        for mine, given in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(given)
