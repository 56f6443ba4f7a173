"""Standardised training cases, every rater's labels side by side; in memory, or read from disk when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from medseg.errors import LabelError
from medseg.imaging.case import Case
from medseg.imaging.regions import refuse_overlaps
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.standardise import standardise, standardise_labels
from medseg.shapes import IntArray

RaterMode = Literal["random", "majority", "soft"]


class VoxelArray(Protocol):
    """Voxels (C, X, Y, Z): a tensor, or a file of which indexing reads a part."""

    @property
    def shape(self) -> torch.Size: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class StoredCase:
    """A case on the plan's grid.

    Args:
        hu: (1, X, Y, Z) int16: CT numbers are integers, and this is half the memory of float32.
        labels: (R, X, Y, Z) int16 class indices, -1 where a rater's opinion is unknown.
        places: per class index the voxels (N, 3) that any rater gave it, for balanced sampling.
    """

    id: str
    hu: VoxelArray
    labels: VoxelArray
    places: dict[int, Tensor]


class Majority:
    """The readers' majority as voxels (1, X, Y, Z), counted where it is read.

    Args:
        labels: (R, X, Y, Z) class indices.
        classes: how many there are.
    """

    def __init__(self, labels: VoxelArray, classes: int) -> None:
        self.labels, self.classes = labels, classes
        self.shape = torch.Size((1, *labels.shape[1:]))

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: Any, /) -> Tensor:
        channels, *box = index if isinstance(index, tuple) else (index,)
        readers = self.labels[(slice(None), *box)].numpy()
        return torch.from_numpy(majority_vote(readers, self.classes))[None][channels]


def store_case(case: Case, plan: Plan, mode: RaterMode) -> StoredCase:
    """Standardises a case for training.

    Raises:
        LabelError: no rater, or a rater who read only some of the structures or whose regions overlap (which training
            cannot use yet).
    """
    if not case.raters:
        raise LabelError("no rater has labelled this case", where=f"case {case.id}",
                         do="Add a label file under `raters:`, or take the case out of training.")  # fmt: skip
    for name, reading in case.raters.items():
        where = f"case {case.id}, rater {name}"
        read = [label for label in reading.label_set.foreground if reading.was_read(label)]
        if len(read) < len(reading.label_set.foreground):
            raise LabelError(
                "a reading of only some structures cannot be trained on",
                where=where,
                expected="every structure of `labels:`",
                got=", ".join(read),
                do="Leave this rater out of the case; evaluation and agreement accept it.",
            )
        refuse_overlaps(reading, where=where)
    image = standardise(case.volume, plan)
    labels = np.stack([standardise_labels(reading, image.geometry) for reading in case.raters.values()])
    if mode == "majority":
        classes = len(next(iter(case.raters.values())).label_set.names)
        labels = majority_vote(labels, classes)[None]
    hu = torch.from_numpy(np.round(image.hu).astype(np.int16))[None]
    return StoredCase(case.id, hu, torch.from_numpy(labels), _places(labels))


def majority_vote(labels: IntArray, classes: int) -> IntArray:
    """Class index (X, Y, Z) with most votes among raters (R, X, Y, Z); unknown opinions (-1) do not vote.

    Tie rule `background`: the lowest class index wins, so that half the readers are not enough to mark a voxel.
    """
    votes = np.stack([(labels == index).sum(axis=0, dtype=np.int16) for index in range(classes)])
    winner = votes.argmax(axis=0).astype(np.int16)
    winner[votes.max(axis=0) == 0] = -1
    return winner


def _places(labels: IntArray, most: int = 4000) -> dict[int, Tensor]:
    places = {}
    for index in np.unique(labels[labels > 0]):
        voxels = np.argwhere((labels == index).any(axis=0))
        kept = voxels[:: max(1, len(voxels) // most)]
        places[int(index)] = torch.from_numpy(kept.astype(np.int16))
    return places
