"""Dice with a voxel-wise term: cross-entropy of all voxels, of the hardest, or focal."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from medseg.losses.regions import RegionalConfig
from medseg.losses.task import Task
from medseg.losses.terms import DiceSemimetric, Focal, TopKCrossEntropy, WeighedTerms, cross_entropy


class DiceCEConfig(RegionalConfig):
    """Weights of the two terms; `batch_dice` pools the voxels of the batch before the ratio, as small organs need."""

    name: Literal["dice_ce"] = "dice_ce"
    dice_weight: float = Field(default=1.0, ge=0)
    ce_weight: float = Field(default=1.0, ge=0)
    batch_dice: bool = True

    def build(self, task: Task | None = None) -> WeighedTerms:
        """The loss; it is the same for every task."""
        return WeighedTerms(
            [(self.ce_weight, cross_entropy), (self.dice_weight, DiceSemimetric(batch=self.batch_dice))]
        )


class DiceTopKConfig(RegionalConfig):
    """Dice and the cross-entropy of the hardest voxels; `share` of all voxels counts as hardest."""

    name: Literal["dice_topk"] = "dice_topk"
    dice_weight: float = Field(default=1.0, ge=0)
    ce_weight: float = Field(default=1.0, ge=0)
    share: float = Field(default=0.1, gt=0, le=1)
    batch_dice: bool = True

    def build(self, task: Task | None = None) -> WeighedTerms:
        """The loss; it is the same for every task."""
        top = TopKCrossEntropy(self.share)
        return WeighedTerms([(self.ce_weight, top), (self.dice_weight, DiceSemimetric(batch=self.batch_dice))])


class DiceFocalConfig(RegionalConfig):
    """Dice and focal loss; a larger `gamma` leaves more of the weight to voxels that are still wrong."""

    name: Literal["dice_focal"] = "dice_focal"
    dice_weight: float = Field(default=1.0, ge=0)
    focal_weight: float = Field(default=1.0, ge=0)
    gamma: float = Field(default=2.0, ge=0, allow_inf_nan=False)
    batch_dice: bool = True

    def build(self, task: Task | None = None) -> WeighedTerms:
        """The loss; it is the same for every task."""
        focal = Focal(self.gamma)
        return WeighedTerms([(self.focal_weight, focal), (self.dice_weight, DiceSemimetric(batch=self.batch_dice))])


def one_hot(labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Target (B, C, X, Y, Z) and weight (B, 1, X, Y, Z) of class indices (B, X, Y, Z); negative ones are ignored."""
    weight = (labels >= 0).unsqueeze(1).float()
    target = torch.nn.functional.one_hot(labels.clamp(min=0).long(), classes).movedim(-1, 1).float()
    return target * weight, weight
