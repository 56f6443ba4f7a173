"""Dice + cross-entropy with a term on centre lines, for vessels and airways."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from medseg.losses.pooling import pooled
from medseg.losses.regions import RegionalConfig
from medseg.losses.task import Task
from medseg.losses.terms import DiceSemimetric, WeighedTerms, cross_entropy


class ClDiceConfig(RegionalConfig):
    """Dice, cross-entropy and centre-line Dice.

    Args:
        cl_dice_weight: of the centre-line term.
        classes: names of the classes (or regions) with centre lines, or their numbers; none given: all of them.
        iterations: erosions; about the largest radius in voxels.
    """

    name: Literal["dice_ce_cldice"] = "dice_ce_cldice"
    dice_weight: float = Field(default=1.0, ge=0)
    ce_weight: float = Field(default=1.0, ge=0)
    cl_dice_weight: float = Field(default=0.5, ge=0)
    classes: tuple[int | str, ...] = ()
    iterations: int = Field(default=5, ge=1, le=50)
    batch_dice: bool = True

    def build(self, task: Task | None = None) -> WeighedTerms:
        """The loss for the classes of a task.

        Raises:
            ConfigError: it has no such class.
        """
        chosen = tuple((task or Task()).index(name, where="loss.classes") for name in self.classes)
        lines = ClDice(chosen, self.iterations)
        dice = DiceSemimetric(batch=self.batch_dice)
        return WeighedTerms([(self.ce_weight, cross_entropy), (self.dice_weight, dice), (self.cl_dice_weight, lines)])


class ClDice:
    """1 - harmonic mean of how much of each centre line lies within the other structure, averaged over classes.

    Source: Shit et al., clDice, a novel topology-preserving loss function for tubular structure segmentation, CVPR
    2021; the soft skeleton is MONAI's. Only classes that occur in the target count; with none it is 0. Voxels that
    do not count are empty in both masks, so a centre line ends about a voxel before them.
    """

    of_structures = True

    def __init__(self, classes: tuple[int, ...], iterations: int) -> None:
        from monai.losses.cldice import soft_skel  # a recipe of another loss does not wait for MONAI

        self.classes, self.iterations, self._skeleton = classes, iterations, soft_skel

    def __call__(self, log_probabilities: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        chosen = torch.tensor(self.classes or range(1, target.shape[1]), device=target.device)
        p = log_probabilities.index_select(1, chosen).exp() * weight
        q = target.index_select(1, chosen) * weight
        precision = self._covered(p, q)
        sensitivity = self._covered(q, p)
        loss = 1 - 2 * precision * sensitivity / (precision + sensitivity).clamp(min=1e-5)
        present = (pooled(q.sum((0, 2, 3, 4))) > 0).to(loss.dtype)
        return (loss * present).sum() / present.sum().clamp(min=1)

    def _covered(self, structure: Tensor, other: Tensor) -> Tensor:
        """Share of the structure's centre line, per class, that lies within the other."""
        line = self._skeleton(structure, self.iterations)
        covered, length = pooled(torch.stack([(line * other).sum((0, 2, 3, 4)), line.sum((0, 2, 3, 4))])).unbind()
        return covered / length.clamp(min=1e-5)
