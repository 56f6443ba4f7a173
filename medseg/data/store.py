"""Standardised training cases, every rater's labels side by side; in memory, or read from disk when asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from medseg.data.opinions import majority_vote
from medseg.errors import LabelError
from medseg.imaging.case import Case
from medseg.imaging.regions import Reading, refuse_overlaps
from medseg.preprocessing.looked_for import known_classes
from medseg.preprocessing.plan import Moments, Plan, labelled_moments
from medseg.preprocessing.seen import Looks, section_cm2
from medseg.preprocessing.standardise import standardise, standardise_labels, whole_hu
from medseg.shapes import IntArray

SLAB = 16  # slices voted on at a time
RaterMode = Literal["random", "soft", "majority", "staple", "heads", "conditioned", "crowd"]


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
        raters: (R) names of those who read the case; empty where the labels are a consensus.
        known: (R, C) boolean, False for classes that a rater did not look for (their background may be that class);
            None when everybody looked for all.
        coarse: (1, X, Y, Z) class indices that a network on a coarser grid gave; None outside of a cascade.
        voted: as `places`, of the readers' majority; None where it has not been counted.
        labelled_hu: of the labelled voxels on the image's own grid; None where it has not been measured.
        looks: the case from outside; None of a store that an older version wrote.
    """

    id: str
    hu: VoxelArray
    labels: VoxelArray
    places: dict[int, Tensor]
    raters: tuple[str, ...] = ()
    known: Tensor | None = None
    coarse: Tensor | None = None
    looks: Looks | None = None
    voted: dict[int, Tensor] | None = None
    labelled_hu: Moments | None = None

    def fused(self, labels: VoxelArray, places: dict[int, Tensor]) -> StoredCase:
        """The same case with one consensus (1, X, Y, Z) in place of its readers."""
        known = None if self.known is None else self.known.any(0, keepdim=True)
        return StoredCase(self.id, self.hu, labels, places, known=known, looks=self.looks)


class Majority:
    """The readers' majority as voxels (1, X, Y, Z), counted where it is read.

    Args:
        labels: (R, X, Y, Z) class indices.
        classes: how many there are.
        known: as in `StoredCase`.
    """

    def __init__(self, labels: VoxelArray, classes: int, known: Tensor | None = None) -> None:
        self.labels, self.classes, self.known = labels, classes, known
        self.shape = torch.Size((1, *labels.shape[1:]))

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: Any, /) -> Tensor:
        channels, *box = index if isinstance(index, tuple) else (index,)
        readers = self.labels[(slice(None), *box)].numpy()
        return torch.from_numpy(majority_vote(readers, self.classes, self.known))[None][channels]


def store_case(case: Case, plan: Plan, mode: RaterMode) -> StoredCase:
    """Standardises a case for training: every reader's labels, or their majority if that is the mode.

    A rater who looked for no structure at all has not read the case.

    Raises:
        LabelError: nobody has read it, or a rater's regions overlap (which training cannot use yet).
    """
    readings = {name: reading for name, reading in case.raters.items() if _has_read(reading)}
    if not readings:
        raise LabelError("no rater has labelled this case", where=f"case {case.id}",
                         do="Add a label file under `raters:`, or take the case out of training.")  # fmt: skip
    for name, reading in readings.items():
        refuse_overlaps(reading, where=f"case {case.id}, rater {name}")
    image = standardise(case.volume, plan)
    labels = np.stack([standardise_labels(reading, image.geometry) for reading in readings.values()])
    table = np.stack([known_classes(reading) for reading in readings.values()])
    partly = None if table.all() else torch.from_numpy(table)
    hu = torch.from_numpy(whole_hu(image.hu))[None]
    looks = Looks(case.volume.geometry.canonical().spacing_mm, section_cm2(image.hu, plan.spacing_mm))
    stored = StoredCase(case.id, hu, torch.from_numpy(labels), find_places(labels), tuple(readings), partly,
                        looks=looks)  # fmt: skip
    if mode != "majority":
        return stored
    voted = majority_vote(labels, table.shape[1], partly)[None]
    return stored.fused(torch.from_numpy(voted), find_places(voted))


def with_facts(stored: StoredCase, case: Case, plan: Plan) -> StoredCase:
    """The stored case with what a training would have to read all its voxels for."""
    voted = majority_places(stored, len(next(iter(case.raters.values())).label_set.names))
    return replace(stored, voted=voted, labelled_hu=labelled_moments(case, plan.window_hu))


def majority_places(case: StoredCase, classes: int) -> dict[int, Tensor]:
    """Per class index voxels (N, 3) of the readers' majority, voted slab by slab: votes of many classes are large."""
    if len(case.labels) == 1:
        return case.places
    vote = Majority(case.labels, classes, case.known)
    voted = np.empty(vote.shape, dtype=np.int16)
    for first in range(0, voted.shape[-1], SLAB):
        slab = slice(first, first + SLAB)
        voted[..., slab] = vote[:, :, :, slab].numpy()
    return find_places(voted)


def _has_read(reading: Reading) -> bool:
    return bool(known_classes(reading)[1:].any()) or not reading.label_set.foreground


def find_places(labels: IntArray, most: int = 4000) -> dict[int, Tensor]:
    """Per class index at most about `most` voxels (N, 3) that any of (R, X, Y, Z) gave it."""
    places = {}
    for index in np.unique(labels[labels > 0]):
        voxels = np.argwhere((labels == index).any(axis=0))
        kept = voxels[:: max(1, len(voxels) // most)]
        places[int(index)] = torch.from_numpy(kept.astype(np.int16))
    return places
