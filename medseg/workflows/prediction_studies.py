"""The studies that the inputs of `medseg predict` stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from medseg.errors import DicomError, FileReadError, GeometryError, InputError, LabelError, UsageError
from medseg.imaging.labels import LabelSet
from medseg.imaging.volume import Volume
from medseg.io.dicom import list_series
from medseg.io.input_files import folder_of, stamp
from medseg.io.manifest import FILE_NAME, read_dataset
from medseg.io.readers import find_reader


@dataclass(frozen=True)
class Study:
    """One study to predict: the id that names the result, where it lies, and how its reader is told to read it."""

    id: str
    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        return f"study {self.id}"

    @property
    def reading(self) -> dict[str, Any]:
        """Its options that are not those by default."""
        return find_reader(self.path, where=self.where).told(self.options)

    def stamp(self) -> str | None:
        """The stamp of its files, see `input_files`; None where they cannot be told, which reading it will explain."""
        options = {"series": self.options["series"]} if "series" in self.options else {}
        try:
            return stamp(find_reader(self.path).files(self.path, **options))
        except (FileReadError, DicomError, GeometryError):
            return None

    def read(self) -> Volume:
        """The study in HU."""
        return find_reader(self.path, where=self.where).read(self.path, where=self.where, **self.options)


def list_studies(
    inputs: Sequence[str | Path],
    labels: LabelSet,
    split: str | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> list[Study]:
    """The studies that the inputs stand for; a data set stands for its cases, a DICOM tree for its series.

    Args:
        options: how studies are read that are no data sets.

    Raises:
        UsageError: two inputs give one case id, a data set has no such split, or there is no input.
        LabelError: a data set's labels are not those of the run.
        FileReadError, DicomError: an input is no study.
    """
    studies: list[Study] = []
    for path in map(Path, inputs):
        if path.name == FILE_NAME or (path / FILE_NAME).is_file():
            studies += _dataset_studies(path, labels, split)
        else:
            studies += _bare_studies(path, options)
    if not studies:
        raise UsageError("nothing to predict", expected="NIfTI files, DICOM folders or a data set")
    if absent := [study.where for study in studies if not study.path.exists()]:
        raise FileReadError("no such file or folder", where=", ".join(absent[:5]), do="Check the paths.")
    counts = Counter(study.id for study in studies)
    if twice := sorted(case for case, count in counts.items() if count > 1):
        raise UsageError("several inputs would be written to one file", got=", ".join(twice[:5]),
                         do="Predict them into different folders, or rename the files.")  # fmt: skip
    return studies


def _bare_studies(path: Path, options: Mapping[str, Any]) -> list[Study]:
    reader = find_reader(path)
    reader.check(options)
    if "series" not in reader.options:
        return [Study(reader.case_id(path), path, options)]
    found = list_series(path)
    folders = {uid: folder_of([one for one in found if one.uid == uid], path) for uid in {one.uid for one in found}}
    return [Study(series.id, folders[series.uid], {**options, "series": series.id}) for series in found]


def _dataset_studies(path: Path, labels: LabelSet, split: str | None) -> list[Study]:
    dataset = read_dataset(path)
    # a data set that names no structure, such as an import of CTs alone, is there to be predicted by any run
    if dataset.labels.foreground and dict(dataset.labels.values) != dict(labels.values):
        raise LabelError(
            "the run was trained for other labels than those of the data set",
            where=FILE_NAME,
            expected=", ".join(f"{name} {value}" for name, value in labels.values.items()),
            got=", ".join(f"{name} {value}" for name, value in dataset.labels.values.items()),
            do="Give the image files themselves to predict the run's own labels.",
        )
    entries = dataset.select(split)
    if not entries:
        raise InputError(f"no case of split '{split}'" if split else "no case", where=FILE_NAME)
    return [Study(entry.id, entry.image, entry.image_options.reading) for entry in entries]
