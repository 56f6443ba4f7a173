"""The studies that the inputs of `medseg predict` stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from medseg.errors import (
    DicomError,
    FileReadError,
    GeometryError,
    InputError,
    LabelError,
    MedsegError,
    UsageError,
    WriteError,
)  # fmt: skip
from medseg.imaging.labels import LabelSet
from medseg.imaging.volume import Volume
from medseg.io.dicom import list_series
from medseg.io.dicom_scan import holds_dicom, readable_uids, scan
from medseg.io.dicom_series import Series
from medseg.io.input_files import folder_of, stamp
from medseg.io.manifest import FILE_NAME, read_dataset
from medseg.io.readers import find_reader
from medseg.workflows.fleet_outcomes import Outcome

MOST_REFUSED = 3  # results in turn that could not be written before the others are not even begun


@dataclass(frozen=True)
class Study:
    """One study to predict: the id that names the result, where it lies, and how its reader is told to read it.

    Args:
        fault: why it is none after all; it has its place among the others, so that they need not wait for its repair.
    """

    id: str
    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    fault: MedsegError | None = None

    def check(self) -> None:
        """Raises its fault."""
        if self.fault is not None:
            raise self.fault

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
        FileReadError, DicomError: nothing is there, or none of the inputs is a study; beside studies what cannot be
            read is in the list with its fault.
    """
    studies: list[Study] = []
    for path in map(Path, inputs):
        if path.name == FILE_NAME or (path / FILE_NAME).is_file():
            studies += _dataset_studies(path, labels, split)
        else:
            studies += _given_studies(path, options)
    studies = [_numbered(study, number) for number, study in enumerate(studies, 1)]
    if all(study.fault for study in studies):
        for study in studies:
            study.check()
        raise UsageError("nothing to predict", expected="NIfTI files, DICOM folders or a data set")
    if absent := [study.where for study in studies if not study.path.exists()]:
        raise FileReadError("no such file or folder", where=", ".join(absent[:5]), do="Check the paths.")
    counts = Counter(study.id for study in studies)
    if twice := sorted(case for case, count in counts.items() if count > 1):
        raise UsageError("several inputs would be written to one file", got=", ".join(twice[:5]),
                         do="Predict them into different folders, or rename the files.")  # fmt: skip
    return studies


def _given_studies(path: Path, options: Mapping[str, Any]) -> list[Study]:
    """The studies of an input that is no data set; what is there and cannot be read becomes one with a fault."""
    try:
        return _bare_studies(path, options)
    except (FileReadError, DicomError, GeometryError) as error:
        if not path.exists():
            raise
        apart = _apart(path, options, path.name) if path.is_dir() else []
        return apart or [Study("", path, options, error)]


def _apart(folder: Path, options: Mapping[str, Any], label: str) -> list[Study]:
    """The studies of a tree that cannot be read as a whole, folder by folder, so that one fault costs no other study.

    Empty where this finds none, or where the slices of one series lie in several of the folders.
    """
    inside = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    if any(entry.is_file() and holds_dicom(entry) for entry in inside):
        return []  # slices beside folders belong together
    found: list[Study] = []
    uids: Counter[str] = Counter()
    for number, child in enumerate((entry for entry in inside if entry.is_dir()), 1):
        told = f"{label}, folder {number}"  # by its number: its name may be a patient's
        try:
            series = scan(child).series
            found += _series_studies(series, child, options)
            uids.update({one.uid for one in series})
        except (FileReadError, DicomError) as error:
            deeper = [] if child.is_symlink() else _apart(child, options, told)
            found += deeper or [Study("", child, options, _told_by_number(error, child, told))]
            uids.update(readable_uids(child))
    return found if any(study.fault is None for study in found) and max(uids.values()) == 1 else []


def _told_by_number(error: InputError, folder: Path, told: str) -> InputError:
    where = told + error.where.partition(folder.name)[2]
    return type(error)(error.what, where=where, expected=error.expected, got=error.got, do=error.do)


def _numbered(study: Study, number: int) -> Study:
    return study if study.fault is None else replace(study, id=f"unreadable_{number}")


def _bare_studies(path: Path, options: Mapping[str, Any]) -> list[Study]:
    reader = find_reader(path)
    reader.check(options)
    if "series" not in reader.options:
        return [Study(reader.case_id(path), path, options)]
    return _series_studies(list_series(path), path, options)


def _series_studies(found: Sequence[Series], path: Path, options: Mapping[str, Any]) -> list[Study]:
    """Each series, looked for in its own folder only."""
    stacks: dict[str, list[Series]] = {}
    for one in found:
        stacks.setdefault(one.uid, []).append(one)
    folders = {uid: folder_of(those, path) for uid, those in stacks.items()}
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


class RefusedWrites:
    """Gives up when results are refused again and again with none written in between: a full disk stays full."""

    def __init__(self) -> None:
        self.refused = 0

    def __call__(self, outcome: Outcome[Study, Any]) -> MedsegError | None:
        self.refused = self.refused + 1 if isinstance(outcome.error, WriteError) else 0
        if self.refused < MOST_REFUSED:
            return None
        return WriteError("not begun, for nothing can be written", where="--out", got=f"{self.refused} studies in turn "
                          "that could not be written", do="Make room, then give the same command again.")  # fmt: skip
