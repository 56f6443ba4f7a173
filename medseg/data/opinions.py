"""What several readers' labels come to: a target to learn, and where and for which classes there is one.

A reader who did not look for a structure says nothing about it: their background may be that structure. So each
structure is a question of its own, answered by those who looked for it and read the voxel; a voxel counts where every
structure that anybody looked for in the case has been answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medseg.shapes import IntArray

DIGITS = 5  # shares that differ by less are a tie: 1 - 2/3 is not exactly 1/3


def rater_target(labels: Tensor, classes: int, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Share of raters per class (C, X, Y, Z) and where there is a target (1, X, Y, Z).

    Where readers looked for different structures, a class's share is that among those who looked for it; shares that
    come to more than 1 (two readers, each sure of a structure that the other did not look for) are scaled down to 1.

    Args:
        labels: (R, X, Y, Z) class indices; -1 is unknown and does not count among the raters of that voxel.
        known: (R, C) boolean, False for classes that a rater did not look for; None when all looked for all.

    Example:
        >>> labels = torch.tensor([1, 0]).reshape(2, 1, 1, 1)  # the second did not look for class 1
        >>> rater_target(labels, 3, torch.tensor([[True, True, True], [True, False, True]]))[0].flatten().tolist()
        [0.0, 1.0, 0.0]
    """
    votes = torch.stack([(labels == index).sum(0) for index in range(classes)]).float()
    read = labels >= 0
    if known is None:
        voters = read.sum(0, keepdim=True).float()
        return votes / voters.clamp(min=1), (voters > 0).float()
    asked = torch.einsum("rc,rxyz->cxyz", known.float(), read.float())
    structures = votes[1:] / asked[1:].clamp(min=1)
    structures = structures / structures.sum(0, keepdim=True).clamp(min=1)
    target = torch.cat([1 - structures.sum(0, keepdim=True), structures])
    sought = known.any(0)
    sought[0] = False
    answered = read.any(0, keepdim=True) & (asked[sought] > 0).all(0, keepdim=True)
    return target * answered, answered.float()


def majority_vote(labels: IntArray, classes: int, known: Tensor | None = None) -> IntArray:
    """Class index (X, Y, Z) with most votes among raters (R, X, Y, Z); unknown opinions (-1) do not vote.

    Tie rule `background`: the lowest class index wins, so that half the readers are not enough to mark a voxel. Between
    structures that is the first of the data set: an arbitrary choice, but the same in every voxel. Where readers looked
    for different structures the shares of `rater_target` take the place of votes.

    Args:
        known: as in `rater_target`.
    """
    if known is not None:
        target, weight = rater_target(torch.from_numpy(np.ascontiguousarray(labels)), classes, known)
        winner = target.round(decimals=DIGITS).argmax(0).to(torch.int16)
        return winner.where(weight[0] > 0, -1).numpy()
    votes = np.stack([(labels == index).sum(axis=0, dtype=np.int16) for index in range(classes)])
    winner = votes.argmax(axis=0).astype(np.int16)
    winner[votes.max(axis=0) == 0] = -1
    return winner


def renamed_known(known: Tensor, pipeline: Any, params: Sequence[Any]) -> Tensor:
    """Which classes were looked for (R, C), after an augmentation that may have exchanged left and right.

    Args:
        pipeline, params: the augmentation and what it drew; anything but a `Pipeline` exchanges no names.
    """
    from medseg.transforms.pipeline import Pipeline  # preprocessing comes by here and need not wait for MONAI

    if not isinstance(pipeline, Pipeline):
        return known
    names = torch.arange(known.shape[1], dtype=torch.int16).reshape(-1, 1, 1, 1)  # one voxel of each class
    for (_, transform), drawn in zip(pipeline.transforms, params, strict=True):
        if drawn is not None and getattr(transform, "mirror_pairs", ()):
            names = transform.apply_labels(names, drawn)
    return torch.zeros_like(known).index_copy_(1, names.flatten().long(), known)
