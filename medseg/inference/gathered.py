"""Where probabilities, maps and sums go while a study is restored slab by slab."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.prediction import Change, Prediction, ScaledMap
from medseg.inference.asked import Asked
from medseg.inference.stored import StoredMap, StoredProbabilities, check_disk
from medseg.preprocessing.restore import Sink
from medseg.preprocessing.restore_doubt import Doubt, MapSink
from medseg.shapes import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Gathered:
    """What was asked for of one study, filled by a `Restoration` through `sink` and `doubt`.

    Args:
        labels: (X, Y, Z), filled by the restoration itself.
        probabilities: (X, Y, Z, C), in memory or in a file; None where not asked for.
        maps: (X, Y, Z) in steps, likewise.
        doubt: takes maps and sums; None where neither is asked for.
    """

    labels: IntArray
    geometry: Geometry
    label_set: LabelSet
    probabilities: Any
    maps: dict[str, Any]
    doubt: Doubt | None

    @property
    def sink(self) -> Sink | None:
        """Takes probabilities."""
        return None if self.probabilities is None else _channels_last(self.probabilities)

    def prediction(self, members: FloatArray | None, changes: tuple[Change, ...]) -> Prediction:
        """All of it.

        Args:
            members: (M, C) voxels of the study that each member labels.
            changes: that were made to the labels after they were restored.
        """
        if self.doubt is None:
            return Prediction(self.labels, self.geometry, self.label_set, changes=changes)
        maps = {name: ScaledMap(steps, self.doubt.step) for name, steps in self.maps.items()}
        return Prediction(self.labels, self.geometry, self.label_set, self.probabilities, changes=changes, maps=maps,
                          sums=self.doubt.sums(members))  # fmt: skip


def gather(asked: Asked, native: Geometry, label_set: LabelSet, *, in_file: bool, scratch: Path | None) -> Gathered:
    """Room for what is asked for; with `in_file` all that grows with the study but its labels lies in `scratch`.

    Raises:
        WriteError: the disk has no room.
    """
    classes = len(label_set.names)
    table = label_set.to_values(np.arange(classes))
    if in_file:
        check_disk(stored_bytes(asked, native, classes), scratch, "probabilities and maps")
    labels = np.full(native.shape, table[0], dtype=table.dtype, order="F")
    probabilities = _room_for_probabilities(native, classes, in_file, scratch) if asked.probabilities else None
    maps: dict[str, Any] = {
        name: StoredMap(native, scratch) if in_file else np.zeros(native.shape, np.int16, order="F")
        for name in asked.maps
    }
    sinks = {name: _putting(own) for name, own in maps.items()}
    return Gathered(labels, native, label_set, probabilities, maps, Doubt(classes, sinks) if asked.sums else None)


def stored_bytes(asked: Asked, native: Geometry, classes: int) -> int:
    """Bytes of the probabilities and maps that are asked for, in a file or in memory."""
    return prod(native.shape) * ((4 * classes if asked.probabilities else 0) + 2 * len(asked.maps))


def _room_for_probabilities(native: Geometry, classes: int, in_file: bool, scratch: Path | None) -> Any:
    if in_file:
        return StoredProbabilities(native, classes, scratch)
    found = np.zeros((*native.shape, classes), dtype=np.float32, order="F")
    found[..., 0] = 1
    return found


def _channels_last(found: Any) -> Sink:
    if isinstance(found, StoredProbabilities):
        return found.put

    def keep(box: tuple[slice, slice, slice], probabilities: FloatArray) -> None:
        found[box] = np.moveaxis(probabilities, 0, -1)

    return keep


def _putting(steps: Any) -> MapSink:
    put: Callable[..., None] = steps.put if isinstance(steps, StoredMap) else steps.__setitem__
    return put
