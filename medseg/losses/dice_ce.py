"""Dice + cross-entropy for hard and soft targets alike."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medseg.config import Config


class DiceCEConfig(Config):
    """Weights of the two terms; `batch_dice` pools the voxels of the batch before the ratio, as small organs need."""

    name: Literal["dice_ce"] = "dice_ce"
    dice_weight: float = Field(default=1.0, ge=0)
    ce_weight: float = Field(default=1.0, ge=0)
    batch_dice: bool = True

    def build(self) -> DiceCrossEntropy:
        return DiceCrossEntropy(self)


class DiceCrossEntropy(nn.Module):
    """Loss of logits (B, C, X, Y, Z) against target probabilities of the same shape.

    The Dice term is the semimetric `1 - 2 tp / (|p| + |q|)` with `tp = (|p| + |q| - |p - q|) / 2`. On one-hot
    targets it equals soft Dice; on soft targets it is zero only at p = q, where plain soft Dice would prefer a hard
    mask (Wang et al., Dice Semimetric Losses, MICCAI 2023). It is averaged over the foreground classes that occur
    in the target: a class that is absent has no overlap to improve, and the cross-entropy already pushes its false
    positives down. With no foreground at all the Dice term is zero.
    """

    def __init__(self, config: DiceCEConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Scalar loss.

        Args:
            logits: (B, C, X, Y, Z), class 0 is the background.
            target: (B, C, X, Y, Z), one-hot or soft, summing to 1 over C where `weight` is 1.
            weight: (B, 1, X, Y, Z), 0 at voxels that must not be learned from, else 1.
        """
        logits = logits.float()  # under bf16 autocast the sums over millions of voxels need the full mantissa
        log_probabilities = torch.log_softmax(logits, dim=1)
        entropy = -(target * log_probabilities).sum(1, keepdim=True) * weight
        cross_entropy = entropy.sum() / weight.sum().clamp(min=1)
        dice = self._dice(log_probabilities.exp() * weight, target * weight)
        return self.config.ce_weight * cross_entropy + self.config.dice_weight * dice

    def _dice(self, probabilities: Tensor, target: Tensor) -> Tensor:
        axes = (0, 2, 3, 4) if self.config.batch_dice else (2, 3, 4)
        p, q = probabilities[:, 1:], target[:, 1:]
        difference, total = (p - q).abs().sum(axes), p.sum(axes) + q.sum(axes)
        loss = difference / total.clamp(min=1e-5)  # equals 1 - 2 tp / (|p| + |q|)
        present = (q.sum(axes) > 0).to(loss.dtype)
        return (loss * present).sum() / present.sum().clamp(min=1)


def one_hot(labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Target (B, C, X, Y, Z) and weight (B, 1, X, Y, Z) of class indices (B, X, Y, Z); negative ones are ignored."""
    weight = (labels >= 0).unsqueeze(1).float()
    target = torch.nn.functional.one_hot(labels.clamp(min=0).long(), classes).movedim(-1, 1).float()
    return target * weight, weight
