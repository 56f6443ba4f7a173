"""Dice + cross-entropy with a term that pulls the outline towards the reference's, by distance."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from medseg.losses.regions import RegionalConfig
from medseg.losses.task import Task
from medseg.losses.terms import DiceSemimetric, WeighedTerms, cross_entropy, mean_over
from medseg.shapes import BoolArray, FloatArray, Triple


class BoundaryConfig(RegionalConfig):
    """Dice, cross-entropy and boundary loss.

    Args:
        boundary_weight: of the boundary term, which lies between -1 and 1.
        reach_mm: distances beyond it count as this far, so that a false positive far away does not outweigh an outline.
        spacing_mm: of the patches along X, Y, Z; default that of the training's grid.
    """

    name: Literal["dice_ce_boundary"] = "dice_ce_boundary"
    dice_weight: float = Field(default=1.0, ge=0)
    ce_weight: float = Field(default=1.0, ge=0)
    boundary_weight: float = Field(default=0.5, ge=0)
    reach_mm: float = Field(default=20.0, gt=0, allow_inf_nan=False)
    spacing_mm: Triple | None = None
    batch_dice: bool = True

    def build(self, task: Task | None = None) -> WeighedTerms:
        """The loss for patches of a task."""
        task = task or Task()
        outline = Boundary(replace(task, spacing_mm=self.spacing_mm or task.spacing_mm), self.reach_mm)
        dice = DiceSemimetric(batch=self.batch_dice)
        return WeighedTerms(
            [(self.ce_weight, cross_entropy), (self.dice_weight, dice), (self.boundary_weight, outline)]
        )


class Boundary:
    """Mean of probability times signed distance to the reference's outline.

    Source: Kervadec et al., Boundary loss for highly unbalanced segmentation, Medical Image Analysis 67, 2021; here
    distances are clipped to a reach and divided by it. A probability inside the reference is rewarded, one outside is
    punished, both by how deep they lie. A class that a sample's target does not hold has no outline and does not count.
    Of a soft target the outline is where half of the readers end. No outline runs along voxels that do not count.
    The distances are computed on the CPU, so on CUDA each step waits for the target to be copied.

    Args:
        task: size of the voxels.
        reach_mm: see `BoundaryConfig`.
    """

    of_structures = True

    def __init__(self, task: Task, reach_mm: float) -> None:
        self.task, self.reach_mm = task, reach_mm

    def __call__(self, log_probabilities: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        marked, counted = (target[:, 1:] > 0.5).cpu().numpy(), (weight[:, 0] > 0).cpu().numpy()
        spacing = self.task.spacing_of(target.shape[2:])
        distances = np.zeros(marked.shape, dtype=np.float32)
        for sample, structure in np.argwhere((marked & counted[:, None]).any(axis=(2, 3, 4))):
            inside = marked[sample, structure]
            distances[sample, structure] = self._signed(inside & counted[sample], ~inside & counted[sample], spacing)
        reach = torch.from_numpy(distances).to(log_probabilities.device)
        near = (reach.abs() > 0) * weight
        return mean_over(log_probabilities[:, 1:].exp() * reach * weight, near)

    def _signed(self, inside: BoolArray, outside: BoolArray, spacing_mm: Triple) -> FloatArray:
        """Distance over reach, -1 to 1, negative inside; nothing outside: -1 everywhere."""
        if not outside.any():
            return np.full(inside.shape, -1, dtype=np.float32)
        away = np.asarray(distance_transform_edt(~inside, sampling=spacing_mm))
        deep = np.asarray(distance_transform_edt(~outside, sampling=spacing_mm))
        return np.clip(np.where(inside, -deep, away) / self.reach_mm, -1, 1).astype(np.float32)
