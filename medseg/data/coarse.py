"""The coarser network's classes as part of a patch: moved with the labels, then damaged.

A network that is always told the truth would learn to repeat it. Predictions of cases that were held out make the
mistakes that it will meet, and damage makes more: nnU-Net's (Isensee et al., Nature Methods 18, 2021): outlines grown,
shrunk, opened or closed in 40 % of the patches, and in 20 % one piece of each class removed if it is small.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import max_pool3d

OUTLINE_CHANCE, PIECE_CHANCE = 0.4, 0.2
MOST_RADIUS = 4  # voxels by which an outline moves; nnU-Net's largest balls are 8 across
SMALL_PIECE = 0.15  # of the patch; larger ones stay
SALT = 7  # a stream of random numbers of its own
GROW, SHRINK, OPEN, CLOSE = range(4)


def with_coarse(image: Tensor, labels: Tensor, seed: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Image and classes (2, X, Y, Z), and the labels without their last row, which held the classes.

    Args:
        image: (1, X, Y, Z) after augmentation.
        labels: (R + 1, X, Y, Z) after augmentation.
        seed: of the patch.
    """
    coarse = damaged(labels[-1], np.random.default_rng([*seed, SALT]))
    return torch.cat([image, coarse[None].to(image)]), labels[:-1]


def damaged(coarse: Tensor, rng: np.random.Generator) -> Tensor:
    """A copy of a class map (X, Y, Z) with the mistakes that a network makes; unknown voxels (-1) are background."""
    found = coarse.clamp(min=0).clone()
    if rng.random() < OUTLINE_CHANCE:
        for index in _present(found):
            found = _redrawn(found, index, int(rng.integers(4)), int(rng.integers(1, MOST_RADIUS + 1)))
    if rng.random() < PIECE_CHANCE:
        for index in _present(found):
            found = _without_a_piece(found, index, rng)
    return found


def _present(classes: Tensor) -> list[int]:
    return [int(index) for index in torch.unique(classes) if index > 0]


def _redrawn(classes: Tensor, index: int, way: int, radius: int) -> Tensor:
    mask = (classes == index)[None].float()
    if way in (GROW, CLOSE):
        mask = _grown(mask, radius)
    if way != GROW:
        mask = 1 - _grown(1 - mask, radius)
    if way == OPEN:
        mask = _grown(mask, radius)
    now = mask[0] > 0.5
    return torch.where(now, index, torch.where(classes == index, 0, classes)).to(classes.dtype)


def _grown(mask: Tensor, radius: int) -> Tensor:
    return max_pool3d(mask, 2 * radius + 1, stride=1, padding=radius)


def _without_a_piece(classes: Tensor, index: int, rng: np.random.Generator) -> Tensor:
    pieces, count = ndimage.label((classes == index).cpu().numpy())  # type: ignore[misc]
    if not count:
        return classes
    piece = pieces == int(rng.integers(count)) + 1
    if piece.mean() > SMALL_PIECE:
        return classes
    return classes.masked_fill(torch.from_numpy(piece).to(classes.device), 0)
