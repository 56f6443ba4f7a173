"""Slices of validation cases with reference and prediction: what TensorBoard and the run's page show.

`RUN/pictures.npz` holds the worst cases of the last validation; without images it holds outlines alone.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import FileReadError
from medseg.files import atomic_path
from medseg.report.run_pictures import Seen
from medseg.training.events import ValidationEvent

FILE = "pictures.npz"
SCHEMA = "medseg.pictures/1"
WORST = 6  # cases on the run's page
FOLLOWED = 4  # cases of which TensorBoard gets the same slice at every validation
Indices = npt.NDArray[np.integer]


@dataclass
class Slices:
    """A watcher that is also shown every case that is validated.

    Args:
        folder: of the run.
        labels: class names, the background first.
        spacing_mm: of the plan's grid.
        images: whether grey values are kept.
    """

    folder: Path
    labels: Sequence[str]
    spacing_mm: tuple[float, float, float]
    images: bool = True
    followed: dict[str, Seen] = field(default_factory=dict)
    worst: dict[str, Seen] = field(default_factory=dict)

    def look(self, case: str, hu: Indices, reference: Indices, prediction: Indices) -> None:
        """Keeps two slices of a case: through most of the reference, and where its worst structure differs most.

        Args:
            hu: (X, Y, Z) on the plan's grid.
            reference, prediction: class indices (X, Y, Z), -1 where nobody read.
        """
        if case in self.followed or len(self.followed) < FOLLOWED:
            self.followed[case] = self._seen(case, "", _fullest(reference > 0), (hu, reference, prediction))
        index = _worst_class(reference, prediction, len(self.labels))
        marked = (reference == index) if index else np.zeros(reference.shape, bool)
        differs = marked != (prediction == index) if index else marked
        name = self.labels[index] if index else ""
        place = _fullest(differs if differs.any() else marked)
        self.worst[case] = self._seen(case, name, place, (hu, reference, prediction))

    def step(self, event: Any) -> None:
        """Nothing to do: slices belong to validations."""

    def validation(self, event: ValidationEvent) -> None:
        """Writes the worst of the cases that were looked at since the last validation."""
        means = {case: sum(dice.values()) / len(dice) for case, dice in event.cases.items() if dice}
        kept = sorted((case for case in self.worst if case in means), key=lambda case: means[case])[:WORST]
        write_pictures(self.folder / FILE, event.step, [self.worst[case] for case in kept], self.labels)
        self.worst.clear()

    def close(self) -> None:
        """Nothing is held open."""

    def _seen(self, case: str, structure: str, place: int, volumes: tuple[Indices, Indices, Indices]) -> Seen:
        hu, reference, prediction = (np.ascontiguousarray(volume[::-1, ::-1, place].T) for volume in volumes)
        pixel_mm = (self.spacing_mm[1], self.spacing_mm[0])
        return Seen(case, structure, place, pixel_mm, reference.astype(np.int16), prediction.astype(np.int16),
                    np.rint(hu).astype(np.int16) if self.images else None)  # fmt: skip


def _fullest(mask: npt.NDArray[np.bool_]) -> int:
    """The slice that holds most of the mask; the middle one of an empty mask."""
    counts = mask.sum(axis=(0, 1))
    return int(counts.argmax()) if counts.any() else len(counts) // 2


def _worst_class(reference: Indices, prediction: Indices, classes: int) -> int:
    """The class index of lowest Dice among those that are marked; 0 when none is."""
    marked = [np.bincount(each[each >= 0].ravel(), minlength=classes) for each in (reference, prediction)]
    total = marked[0] + marked[1]
    both = np.bincount(reference[(reference == prediction) & (reference >= 0)].ravel(), minlength=classes)
    found = [index for index in range(1, classes) if total[index]]
    return min(found, key=lambda index: 2 * both[index] / total[index], default=0)


def write_pictures(path: Path, step: int, slices: Sequence[Seen], labels: Sequence[str]) -> None:
    """Writes slices as arrays beside a JSON text, atomically; never a pickle."""
    told = [
        {"case": seen.case, "structure": seen.structure, "place": seen.place, "pixel_mm": list(seen.pixel_mm)}
        for seen in slices
    ]
    facts = {"schema": SCHEMA, "step": step, "labels": list(labels), "slices": told}
    arrays = {"facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
    for number, seen in enumerate(slices):
        arrays |= {f"reference_{number}": seen.reference, f"prediction_{number}": seen.prediction}
        arrays |= {f"hu_{number}": seen.hu} if seen.hu is not None else {}
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def read_pictures(path: Path) -> tuple[int, list[Seen], list[str]]:
    """Step, slices and class names that `write_pictures` wrote; without a file step -1 and nothing.

    Raises:
        FileReadError: the file is damaged.
    """
    if not path.exists():
        return -1, [], []
    try:
        with np.load(path, allow_pickle=False) as arrays:
            facts = json.loads(arrays["facts"].tobytes())
            slices = [_read_slice(number, told, arrays) for number, told in enumerate(facts["slices"])]
            return int(facts["step"]), slices, [str(name) for name in facts["labels"]]
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise FileReadError("the pictures of the run cannot be read", where=path.name, got=type(error).__name__,
                            do="Delete the file; the next validation writes it again.") from error  # fmt: skip


def _read_slice(number: int, told: Mapping[str, Any], arrays: Mapping[str, Any]) -> Seen:
    height, width = told["pixel_mm"]
    hu = arrays.get(f"hu_{number}")
    return Seen(str(told["case"]), str(told["structure"]), int(told["place"]), (float(height), float(width)),
                arrays[f"reference_{number}"], arrays[f"prediction_{number}"], hu)  # fmt: skip
