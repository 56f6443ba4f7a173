"""A model's probabilities and samples beside its labels; nothing is read until it is asked for.

`probabilities/<case>.nii.gz` holds (X, Y, Z, label), the background first, and `samples/<case>/<k>.nii.gz` one draw of
the model each, both inside the model's folder or, for a single model, beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from medseg.errors import LabelError, UsageError
from medseg.imaging.geometry import Geometry, reorient
from medseg.imaging.labels import BACKGROUND, LabelMap, LabelSet
from medseg.imaging.prediction import MAPS
from medseg.imaging.regions import Reading
from medseg.imaging.resample import resample_linear
from medseg.io.nifti import is_nifti, stem
from medseg.io.nifti_probabilities import read_probabilities
from medseg.shapes import FloatArray
from medseg.workflows.readings_formats import entries, find_place, holds_reading, reading_stem
from medseg.workflows.readings_grid import GridOptions, check_same_lattice, on_one_grid
from medseg.workflows.readings_sources import Naming, Source, read_source

PROBABILITIES, SAMPLES = "probabilities", "samples"
FORMAT_FOLDERS = ("nrrd", "dicom-seg", "rtstruct", "png", "viewer")  # the same labels once more, see prediction_files
RESERVED = (PROBABILITIES, SAMPLES, *MAPS, *FORMAT_FOLDERS)


@dataclass(frozen=True)
class SoftFiles:
    """What one model left of one case besides its labels.

    Args:
        source: the labels' source, whose names, map and place in messages hold here, too.
        naming: names of the labels.
        probabilities: the file, or None.
        samples: the files in the order of their names.
        resample: whether they may be resampled to the readers' grid.
    """

    source: Source
    naming: Naming
    probabilities: Path | None = None
    samples: tuple[Path, ...] = ()
    resample: bool = False

    @property
    def files(self) -> dict[str, Path]:
        """Shown name and path of every file."""
        own = {} if self.probabilities is None else {f"{PROBABILITIES}/{self.probabilities.name}": self.probabilities}
        return own | {f"{SAMPLES}/{path.parent.name}/{path.name}": path for path in self.samples}

    def read_probabilities(self, label: str, target: Geometry) -> FloatArray | None:
        """The probability (X, Y, Z) of a label on the readers' grid, 0 beyond the model's image; None without a file.

        Raises:
            FileReadError, GeometryError, VoxelError: see `read_probabilities`; another grid than the readers'.
            LabelError: the file has another number of labels.
        """
        if self.probabilities is None:
            return None
        where = f"{self.source.where}, {PROBABILITIES}"
        values, geometry = read_probabilities(self.probabilities, where=where)
        channels = self._channels(label, values.shape[3], where)
        total = values[..., channels].sum(axis=3) if len(channels) != 1 else values[..., channels[0]]
        total = np.minimum(total, np.float32(1), dtype=np.float32)  # the classes exclude each other, up to rounding
        return self._moved(total, geometry, target, where)

    def read_samples(self, target: Geometry) -> Iterator[Reading]:
        """The samples on the readers' grid, one at a time.

        Raises:
            FileReadError, GeometryError, LabelError: as the model's labels.
        """
        for path in self.samples:
            where = f"{self.source.where}, sample {reading_stem(path)}"
            reading = read_source(replace(self.source, place=find_place(path, where=where), where=where), self.naming)
            grid = LabelMap(np.broadcast_to(np.uint8(0), target.shape), target, LabelSet({BACKGROUND: 0}))
            options = GridOptions(resampled=["sample"] if self.resample else (), models=["sample"])
            yield on_one_grid({"readers": grid, "sample": reading}, where, options).readings["sample"]

    def _channels(self, label: str, count: int, where: str) -> list[int]:
        """The last indices that belong to a label."""
        names = self.naming.labels.names if self.naming.labels else None
        if self.source.mapping is not None:  # the model's own values are its order
            return [self._channel(name, count, where) for name in self.source.mapping.sources(label)]
        if names is None:  # bare folders: the label is its value
            return [self._channel(label, count, where)]
        if not self.naming.values_known:
            raise LabelError("the order of the labels is not known", where=where, expected="--labels")
        if label not in names[1:]:
            raise LabelError(f"unknown label '{label}'", where=where, expected="one of " + ", ".join(names[1:]))
        if count == 1 and len(names) == 2:
            return [0]
        if count != len(names):
            raise LabelError("another number of labels than the data", where=where, got=str(count),
                             expected=f"{len(names)}: {BACKGROUND}, " + ", ".join(names[1:]))  # fmt: skip
        return [names.index(label)]

    def _channel(self, value: str, count: int, where: str) -> int:
        if count == 1 and value == "1":
            return 0
        if not value.isdigit() or not 0 < int(value) < count:
            raise LabelError(f"no probability of '{value}'", where=where, got=f"{count} along the fourth axis",
                             expected="the model's values counted from 0, the background first")  # fmt: skip
        return int(value)

    def _moved(self, values: FloatArray, geometry: Geometry, target: Geometry, where: str) -> FloatArray:
        if not geometry.differences(target):
            return values
        if self.resample and geometry.canonical().differences(target.canonical()):
            return resample_linear(values, geometry, target, outside=0.0)
        check_same_lattice(geometry, target, where=where, first="the readers")
        return reorient(values, geometry, target)


@dataclass(frozen=True)
class SoftIndex:
    """Every probability file by its stem, and every case's samples."""

    probabilities: Mapping[str, Path] = field(default_factory=dict)
    samples: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    def of(self, stems: Sequence[str]) -> tuple[Path | None, tuple[Path, ...]]:
        """The files of a case that may be called by any of the stems."""
        own = next((self.probabilities[name] for name in stems if name in self.probabilities), None)
        return own, next((self.samples[name] for name in stems if name in self.samples), ())


def find_soft_files(folder: Path, *, beside: bool) -> SoftIndex:
    """What lies in a model's folder, or where `beside` is given and nothing lies there, next to it.

    Raises:
        UsageError: two files of one case.
    """
    roots = [folder, *([folder.resolve().parent] if beside else [])]
    probabilities: dict[str, Path] = {}
    own = next((root / PROBABILITIES for root in roots if (root / PROBABILITIES).is_dir()), None)
    files = [] if own is None else [path for path in entries(own, where=PROBABILITIES) if is_nifti(path)]
    for path in files:
        if (known := probabilities.setdefault(stem(path), path)) is not path:
            raise UsageError(f"two files of case {stem(path)}", where=PROBABILITIES,
                                 got=f"{known.name}, {path.name}")  # fmt: skip
    drawn = next((root / SAMPLES for root in roots if (root / SAMPLES).is_dir()), None)
    cases = [] if drawn is None else [path for path in entries(drawn, where=SAMPLES) if path.is_dir()]
    return SoftIndex(probabilities, {case.name: _in_order(case) for case in cases})


def _in_order(folder: Path) -> tuple[Path, ...]:
    """The samples of a case, 2 before 10."""
    found = [path for path in entries(folder, where=SAMPLES) if holds_reading(path)]
    return tuple(sorted(found, key=lambda path: (int(name) if (name := reading_stem(path)).isdigit() else 0, name)))
