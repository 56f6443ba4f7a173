"""Dice + cross-entropy with a term that pulls the outline towards the reference's, by distance."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from medseg.config import Config
from medseg.losses.terms import DiceSemimetric, WeighedTerms, cross_entropy, mean_over
from medseg.shapes import BoolArray, FloatArray, Triple


class BoundaryConfig(Config):
    """Dice, cross-entropy and boundary loss.

    Args:
        boundary_weight: of the boundary term, which lies between -1 and 1.
        reach_mm: distances beyond it count as this far, so that a false positive far away does not outweigh an outline.
        spacing_mm: of the patches along X, Y, Z.
    """

    name: Literal["dice_ce_boundary"] = "dice_ce_boundary"
    dice_weight: float = Field(default=1.0, ge=0)
    ce_weight: float = Field(default=1.0, ge=0)
    boundary_weight: float = Field(default=0.5, ge=0)
    reach_mm: float = Field(default=20.0, gt=0, allow_inf_nan=False)
    spacing_mm: Triple = (1.0, 1.0, 1.0)
    batch_dice: bool = True

    def build(self) -> WeighedTerms:
        outline = Boundary(self.spacing_mm, self.reach_mm)
        dice = DiceSemimetric(batch=self.batch_dice)
        return WeighedTerms(
            [(self.ce_weight, cross_entropy), (self.dice_weight, dice), (self.boundary_weight, outline)]
        )


class Boundary:
    """Mean of probability times signed distance to the reference's outline, over voxels near it.

    Source: Kervadec et al., Boundary loss for highly unbalanced segmentation, Medical Image Analysis 67, 2021; here
    distances are clipped to a reach and divided by it. A probability inside the reference is rewarded, one outside is
    punished, both by how deep they lie. A class that a sample's target does not hold has no outline and does not count.
    The distances are computed on the CPU, so on CUDA each step waits for the target to be copied.
    """

    def __init__(self, spacing_mm: Triple, reach_mm: float) -> None:
        self.spacing_mm, self.reach_mm = spacing_mm, reach_mm

    def __call__(self, log_probabilities: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        marked = (target[:, 1:] * weight > 0.5).cpu().numpy()
        distances = np.zeros(marked.shape, dtype=np.float32)
        for place in np.argwhere(marked.any(axis=(2, 3, 4))):
            distances[tuple(place)] = self._signed(marked[tuple(place)])
        reach = torch.from_numpy(distances).to(log_probabilities.device)
        near = (reach.abs() > 0) * weight
        return mean_over(log_probabilities[:, 1:].exp() * reach * weight, near)

    def _signed(self, mask: BoolArray) -> FloatArray:
        """Distance over reach, -1 to 1, negative inside; the whole grid marked: -1 everywhere."""
        if mask.all():
            return np.full(mask.shape, -1, dtype=np.float32)
        outside = distance_transform_edt(~mask, sampling=self.spacing_mm)
        inside = distance_transform_edt(mask, sampling=self.spacing_mm)
        return np.clip((np.asarray(outside) - np.asarray(inside)) / self.reach_mm, -1, 1).astype(np.float32)
