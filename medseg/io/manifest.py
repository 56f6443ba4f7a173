"""The data set: a `dataset.yaml` that names cases, patients, images and one label file per rater.

Paths in the file are relative to its folder. Absolute paths and paths that climb out of the folder are followed, but
never shown: messages name such a file by its name alone.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails

from medseg.config import Config, build_config, dump_yaml, nearest, read_yaml
from medseg.config_faults import as_config_error
from medseg.errors import FileReadError, LabelError, UsageError
from medseg.files import write_text
from medseg.imaging.case import Case
from medseg.imaging.labels import LabelMap, LabelSet
from medseg.imaging.volume import Volume
from medseg.io import nifti

FILE_NAME = "dataset.yaml"
SCHEMA = "medseg.dataset/1"
CASE_ID = r"^\w[\w.+@=\- ]*$"  # it becomes a file name: no slash, no leading dot


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


class _RaterFile(Config):
    path: str = Field(min_length=1)
    labelled: tuple[str, ...] | None = None
    slices_read: tuple[int, int] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_bare_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class _CaseConfig(Config):
    id: str = Field(pattern=CASE_ID)
    patient: str | None = Field(default=None, min_length=1)
    group: str | None = None
    split: str | None = None
    image: str = Field(min_length=1)
    truth: str | None = Field(default=None, min_length=1)
    raters: dict[str, _RaterFile] = Field(default_factory=dict)


class _DatasetConfig(Config):
    version: Literal["medseg.dataset/1"] = Field(alias="schema")
    labels: dict[str, int]
    mirror_pairs: tuple[tuple[str, str], ...] = ()
    ignore: int | None = None
    raters: tuple[str, ...] = ()
    anonymous: bool = False
    cases: tuple[_CaseConfig, ...]

    @field_validator("cases")
    @classmethod
    def _at_least_one(cls, cases: tuple[_CaseConfig, ...]) -> tuple[_CaseConfig, ...]:
        if not cases:
            raise ValueError("at least one case")
        return cases


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
    data = read_yaml(path)
    config = build_config(_DatasetConfig, data, source=path.name)
    labels, faults = _label_set(config)
    if found := [*faults, *_faults(config)]:
        error = ValidationError.from_exception_data(SCHEMA, found)
        raise as_config_error(error, _DatasetConfig, data, path.name, ())
    assert labels is not None
    root = Path(os.path.abspath(path.parent))
    cases = tuple(_entry(case, root, config.raters) for case in config.cases)
    return Dataset(root, labels, config.raters, cases, config.anonymous)


def _fault(key: tuple[str | int, ...], message: str) -> InitErrorDetails:
    return InitErrorDetails(type="value_error", loc=key, input=None, ctx={"error": ValueError(message)})


def _label_set(config: _DatasetConfig) -> tuple[LabelSet | None, list[InitErrorDetails]]:
    try:
        return LabelSet(config.labels, config.mirror_pairs, config.ignore), []
    except LabelError as error:
        return None, [_fault(("labels",), str(error))]


def _faults(config: _DatasetConfig) -> Iterator[InitErrorDetails]:
    """What the types alone cannot say, each with the key at which it stands."""
    for name, count in Counter(config.raters).items():
        if count > 1:
            yield _fault(("raters",), f"rater '{name}' is listed {count} times")
    seen: dict[str, int] = {}
    for index, case in enumerate(config.cases):
        if case.id in seen:
            yield _fault(("cases", index, "id"), f"case '{case.id}' is listed twice (also as cases.{seen[case.id]})")
        seen[case.id] = index
        for rater, file in case.raters.items():
            yield from _reading_faults(config, ("cases", index, "raters", rater), file)


def _reading_faults(config: _DatasetConfig, key: tuple[str | int, ...], file: _RaterFile) -> Iterator[InitErrorDetails]:
    rater = str(key[-1])
    if rater not in config.raters:
        listed = ", ".join(config.raters) or "none"
        yield _fault(key, f"a rater that `raters:` does not list{nearest(rater, config.raters)}; it lists {listed}")
    for name in file.labelled or ():
        if name not in config.labels:
            known = ", ".join(config.labels)
            yield _fault((*key, "labelled"), f"unknown label '{name}'{nearest(name, config.labels)}; known are {known}")
    if file.slices_read and not 0 <= file.slices_read[0] <= file.slices_read[1]:
        yield _fault((*key, "slices_read"), "not [first, last] with 0 <= first <= last")


def _entry(case: _CaseConfig, root: Path, raters: tuple[str, ...]) -> CaseEntry:
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
    """The CT of a case in HU: a NIfTI file.

    Raises:
        FileReadError, GeometryError, VoxelError: see `nifti.read_volume`; the case is named.
    """
    return nifti.read_volume(entry.image, where=f"case {entry.id}, image {dataset.shown(entry.image)}")


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
