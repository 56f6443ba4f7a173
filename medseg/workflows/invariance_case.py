"""A case of the data set as the test sees it: its image, its references, and what a step makes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medseg.errors import LabelError
from medseg.evaluation.dose_response_scores import RESERVED, TRUTH
from medseg.evaluation.dose_response_way import Way, still
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet
from medseg.imaging.regions import Reading
from medseg.imaging.volume import Volume
from medseg.io.manifest import CaseEntry, Dataset, read_image, read_image_grid, read_reading, read_truth
from medseg.shapes import IntArray
from medseg.workflows.invariance_settings import Step
from medseg.workflows.readings_grid import on_one_grid

IMAGE = "its image"


@dataclass(frozen=True, eq=False)
class ChallengedCase:
    """A case of the data set; the image is read when somebody asks for its voxels."""

    dataset: Dataset
    entry: CaseEntry
    labels: LabelSet

    @property
    def id(self) -> str:
        return self.entry.id

    @cached_property
    def volume(self) -> Volume:
        return read_image(self.dataset, self.entry)

    @cached_property
    def grid(self) -> Geometry:
        return read_image_grid(self.dataset, self.entry)

    @cached_property
    def references(self) -> dict[str, Reading]:
        """The experts' readings and the truth on the image's grid.

        Raises:
            GeometryError: a reading lies on another lattice than the image.
        """
        found = {rater: read_reading(self.dataset, self.entry, rater) for rater in self.entry.raters}
        if (truth := read_truth(self.dataset, self.entry)) is not None:
            found[TRUTH] = truth
        own = LabelMap(np.zeros(self.grid.shape, dtype=np.uint8), self.grid, self.labels)
        together = on_one_grid({IMAGE: own, **found}, self.id).readings
        return {name: reading for name, reading in together.items() if name != IMAGE}

    def forget(self) -> None:
        """Gives back the memory of voxels; they are read again when somebody asks."""
        for name in ("volume", "references"):
            self.__dict__.pop(name, None)

    def way(self, step: Step | None) -> Way:
        """There and back."""
        return still(self.grid) if step is None else step.challenge.way_at(self.grid, step.dose)

    def seen(self, step: Step | None, seed: int) -> Volume:
        """What the model is given."""
        if step is None:
            return self.volume
        return step.challenge.apply(self.volume, step.dose, case_seed(seed, self.id, step.transform))[0]

    def back(self, labels: IntArray, step: Step | None) -> LabelMap:
        """A prediction on the case's own grid."""
        return LabelMap(self.way(step).back(labels, self.labels), self.grid, self.labels)


def case_seed(seed: int, case: str, transform: str) -> int:
    """The seed of a case's noise: one for all doses of a transform, another one for every case and transform."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{case}:{transform}".encode()).digest()[:8], "little")


def check_raters(dataset: Dataset) -> None:
    """Raises LabelError when a rater has a name that the result uses for something else."""
    if taken := [rater for rater in dataset.raters if rater in RESERVED]:
        raise LabelError(f"a rater is called '{taken[0]}'", where="dataset.yaml", do="Rename the rater.")


def label_set_of(dataset: Dataset, models: Mapping[str, LabelSet | None]) -> LabelSet:
    """The names of the data set; those of the models where it names no structure (images alone).

    Raises:
        LabelError: a model was trained for other labels, or nobody names a structure.
    """
    known = {name: labels for name, labels in models.items() if labels is not None}
    own = dataset.labels if dataset.labels.foreground else next(iter(known.values()), dataset.labels)
    if not own.foreground:
        raise LabelError("the data set names no structure", where="dataset.yaml", do="Add them under `labels:`.")
    for name, labels in known.items():
        if dict(labels.values) != dict(own.values):
            raise LabelError(
                f"{name} was trained for other labels than those of the data set",
                where="dataset.yaml",
                expected=", ".join(f"{label} {value}" for label, value in labels.values.items()),
                got=", ".join(f"{label} {value}" for label, value in own.values.items()),
            )
    return own
