"""The data set: a `dataset.yaml` that names cases, patients, images and one label file per rater.

Paths in the file are relative to its folder. Absolute paths and paths that climb out of the folder are followed, but
never shown: messages name such a file by its name alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.config import dump_yaml, nearest
from medseg.errors import FileReadError, LabelError, UsageError
from medseg.files import write_text
from medseg.imaging.case import Case
from medseg.imaging.labels import LabelMap, LabelSet
from medseg.imaging.volume import Volume
from medseg.io import nifti
from medseg.io.manifest_schema import SCHEMA, CaseConfig, read_schema
from medseg.io.readers import find_reader

FILE_NAME = "dataset.yaml"


@dataclass(frozen=True)
class LabelFile:
    """One rater's file of one case; `labelled` names what was looked for, `slices_read` the inclusive range read."""

    path: Path
    labelled: tuple[str, ...] | None = None
    slices_read: tuple[int, int] | None = None


@dataclass(frozen=True)
class CaseEntry:
    """One case as the data set lists it; nothing has been read yet. A rater who is not in `raters` is missing."""

    id: str
    image: Path
    raters: dict[str, LabelFile]
    truth: Path | None = None
    patient: str = ""
    group: str | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        if not self.patient:
            object.__setattr__(self, "patient", self.id)


@dataclass(frozen=True)
class Dataset:
    """Cases, label names and raters of one study; `anonymous` when a rater's name is another person in every case."""

    root: Path
    labels: LabelSet
    raters: tuple[str, ...]
    cases: tuple[CaseEntry, ...]
    anonymous: bool = False

    def entry(self, case_id: str) -> CaseEntry:
        """The case of that id.

        Raises:
            UsageError: there is none; the nearest id is named.
        """
        for case in self.cases:
            if case.id == case_id:
                return case
        known = [case.id for case in self.cases]
        raise UsageError(f"no case '{case_id}' in the data set{nearest(case_id, known)}", where=FILE_NAME)

    def select(self, split: str | None) -> tuple[CaseEntry, ...]:
        """The cases of one split, in file order (empty when none has it); all cases for None."""
        return self.cases if split is None else tuple(case for case in self.cases if case.split == split)

    def shown(self, path: Path) -> str:
        """A file's name for messages: relative to the data set, or the bare name when it lies outside."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.name


def read_dataset(path: str | Path) -> Dataset:
    """The data set that a `dataset.yaml`, or the folder that holds one, describes. No image is opened.

    Raises:
        FileReadError: there is no such file.
        ConfigError: a fault in it, with file, line and key: unknown keys and wrong types, a case id or rater given
            twice, a rater that `raters:` does not list, an unknown label name in `labelled`.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise FileReadError("no such file", where=path.name, expected=f"a {FILE_NAME} or the folder that holds one",
                            do="Check the path.")  # fmt: skip
    config, labels = read_schema(path)
    root = Path(os.path.abspath(path.parent))
    cases = tuple(_entry(case, root, config.raters) for case in config.cases)
    return Dataset(root, labels, config.raters, cases, config.anonymous)


def _entry(case: CaseConfig, root: Path, raters: tuple[str, ...]) -> CaseEntry:
    def absolute(relative: str) -> Path:
        return Path(os.path.abspath(root / relative))

    files = {
        name: LabelFile(absolute(file.path), file.labelled, file.slices_read)
        for name in raters
        if (file := case.raters.get(name)) is not None
    }
    truth = None if case.truth is None else absolute(case.truth)
    return CaseEntry(case.id, absolute(case.image), files, truth, case.patient or "", case.group, case.split)


def write_dataset(dataset: Dataset) -> Path:
    """Writes `root/dataset.yaml` with relative paths and returns its path; `read_dataset` gives the data set back.

    Raises:
        WriteError: the disk refused; an old file stays.
    """
    data: dict[str, Any] = {"schema": SCHEMA, "labels": dict(dataset.labels.values)}
    if dataset.labels.mirror_pairs:
        data["mirror_pairs"] = [list(pair) for pair in dataset.labels.mirror_pairs]
    if dataset.labels.ignore is not None:
        data["ignore"] = dataset.labels.ignore
    data["raters"] = list(dataset.raters)
    if dataset.anonymous:
        data["anonymous"] = True
    data["cases"] = [_case_mapping(case, dataset.root) for case in dataset.cases]
    path = dataset.root / FILE_NAME
    write_text(path, dump_yaml(data))
    return path


def _case_mapping(case: CaseEntry, root: Path) -> dict[str, Any]:
    def relative(path: Path) -> str:
        return Path(os.path.relpath(path, root)).as_posix()

    def reading(file: LabelFile) -> str | dict[str, Any]:
        extras: dict[str, Any] = {} if file.labelled is None else {"labelled": list(file.labelled)}
        extras |= {} if file.slices_read is None else {"slices_read": list(file.slices_read)}
        return {"path": relative(file.path), **extras} if extras else relative(file.path)

    fields: Mapping[str, Any] = {
        "id": case.id,
        "patient": None if case.patient == case.id else case.patient,
        "group": case.group,
        "split": case.split,
        "image": relative(case.image),
        "truth": None if case.truth is None else relative(case.truth),
        "raters": {name: reading(file) for name, file in case.raters.items()} or None,
    }
    return {key: value for key, value in fields.items() if value is not None}


def read_image(dataset: Dataset, entry: CaseEntry) -> Volume:
    """The CT of a case in HU, from any kind of image in `READERS`.

    Raises:
        FileReadError, GeometryError, VoxelError, DicomError: see the readers; the case is named.
    """
    where = f"case {entry.id}, image {dataset.shown(entry.image)}"
    return find_reader(entry.image, where=where).read(entry.image, where=where)


def read_reading(dataset: Dataset, entry: CaseEntry, rater: str) -> LabelMap:
    """One rater's labels of a case.

    Raises:
        LabelError: the rater did not read the case, or the file holds unknown values; case and rater are named.
        FileReadError, GeometryError: see `nifti.read_labels`.
    """
    if rater not in entry.raters:
        raise LabelError(f"rater '{rater}' has no file for this case", where=f"case {entry.id}",
                         got=", ".join(entry.raters) or "no rater")  # fmt: skip
    file = entry.raters[rater]
    where = f"case {entry.id}, rater {rater} ({dataset.shown(file.path)})"
    return nifti.read_labels(
        file.path, dataset.labels, where=where, labelled=file.labelled, slices_read=file.slices_read
    )


def read_truth(dataset: Dataset, entry: CaseEntry) -> LabelMap | None:
    """The external truth of a case, or None when it has none.

    Raises:
        LabelError, FileReadError, GeometryError: see `nifti.read_labels`; the case is named.
    """
    if entry.truth is None:
        return None
    where = f"case {entry.id}, truth ({dataset.shown(entry.truth)})"
    return nifti.read_labels(entry.truth, dataset.labels, where=where)


def read_case(dataset: Dataset, entry: CaseEntry) -> Case:
    """The image, every rater's labels and the truth of one case, checked to lie on one grid.

    Raises:
        LabelError: the case has no rater (use `read_image` to predict on it), or a file holds unknown values.
        GeometryError: a label map lies on another grid than the image.
        FileReadError, VoxelError: a file is missing, truncated or holds NaN.
    """
    if not entry.raters:
        raise LabelError(
            "no rater has read this case",
            where=f"case {entry.id}",
            do="Add a label file under its `raters:`, or take the case out; it can still be predicted.",
        )
    volume = read_image(dataset, entry)
    readings = {rater: read_reading(dataset, entry, rater) for rater in entry.raters}
    return Case(entry.id, volume, readings, read_truth(dataset, entry), entry.patient, entry.group)
