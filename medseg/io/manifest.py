"""The data set: a `dataset.yaml` that names cases, patients, images and one label file per rater.

Paths in the file are relative to its folder. Absolute paths and paths that climb out of the folder are followed, but
never shown: messages name such a file by its name alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.config import dump_yaml, nearest
from medseg.errors import ConfigError, FileReadError, LabelError, UsageError
from medseg.files import write_text
from medseg.imaging.case import Case
from medseg.imaging.cosines import Shear
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet
from medseg.imaging.regions import Reading
from medseg.imaging.volume import Volume
from medseg.io.label_files import is_label_file, read_label_grid, read_labels, read_regions, read_regions_grid
from medseg.io.manifest_schema import SCHEMA, CaseConfig, Gaps, RaterFile, Tilt, read_schema
from medseg.io.readers import Reader, find_reader

FILE_NAME = "dataset.yaml"


@dataclass(frozen=True)
class ImageOptions:
    """How the image of a case is read; all but `invented` are arguments of its reader, see `readers.READERS`.

    Args:
        series: id of the DICOM series among several.
        tilt: what becomes of a gantry tilt: `resample` (DICOM), `keep` or `refuse`; None for the reader's own rule.
        gaps: what becomes of missing or uneven DICOM slices: `refuse` or `resample`; None for the reader's own rule.
        nan_hu: HU of voxels that a NIfTI file leaves undefined (NaN); None refuses them.
        invented: slices (along Z) of an image file that were interpolated before it was written.
    """

    series: str | None = None
    tilt: Tilt | None = None
    gaps: Gaps | None = None
    nan_hu: float | None = None
    invented: tuple[int, ...] = ()

    @property
    def reading(self) -> dict[str, Any]:
        """The options that are set, as arguments for the reader."""
        options = {"series": self.series, "tilt": self.tilt, "gaps": self.gaps, "nan_hu": self.nan_hu}
        return {name: value for name, value in options.items() if value is not None}

    @property
    def label_tilt(self) -> Shear:
        """Labels may be sheared where the image was kept so."""
        return "keep" if self.tilt == "keep" else "refuse"


@dataclass(frozen=True)
class LabelFile:
    """One rater's reading of one case: one label map, or a binary file for each structure (they may overlap).

    Args:
        path: the label map; None when there are `masks`.
        labelled: names of the structures that were looked for; None for all of a label map, for those with a mask.
        slices_read: first and last slice read, inclusive.
        masks: structure to binary file, whose non-zero voxels are the structure.
        source: where the reading is from (format, rater facts); nothing of the patient.
        filled: structure to slices that were interpolated between drawn ones.
        invented: slices (along Z) that stand for no slice that the scanner made.
    """

    path: Path | None = None
    labelled: tuple[str, ...] | None = None
    slices_read: tuple[int, int] | None = None
    masks: Mapping[str, Path] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    filled: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    invented: tuple[int, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file of the reading."""
        return (*([] if self.path is None else [self.path]), *self.masks.values())


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
    image_options: ImageOptions = ImageOptions()

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
        """A file's name for messages: relative to the data set, or the bare name when it lies outside.

        A folder outside, such as that of a DICOM series, may be called like the patient and is not named, not even
        when it is gone.
        """
        if path.is_relative_to(self.root):
            return path.relative_to(self.root).as_posix()
        return path.name if path.is_file() or is_label_file(path) else "a folder outside the data set"


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

    def label_file(file: RaterFile) -> LabelFile:
        path = None if file.path is None else absolute(file.path)
        masks = {name: absolute(mask) for name, mask in (file.masks or {}).items()}
        return LabelFile(path, file.labelled, file.slices_read, masks, file.source, file.filled, file.invented)

    files = {name: label_file(case.raters[name]) for name in raters if name in case.raters}
    truth = None if case.truth is None else absolute(case.truth)
    image = case.image
    options = ImageOptions(image.series, image.tilt, image.gaps, image.nan_hu, image.invented)
    return CaseEntry(case.id, absolute(image.path), files, truth, case.patient or "", case.group, case.split, options)


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

    def image() -> str | dict[str, Any]:
        invented = list(case.image_options.invented) or None
        return _short({"path": relative(case.image), **case.image_options.reading, "invented": invented})

    def reading(file: LabelFile) -> str | dict[str, Any]:
        return _short({
            "path": None if file.path is None else relative(file.path),
            "masks": {name: relative(path) for name, path in file.masks.items()} or None,
            "labelled": None if file.labelled is None else list(file.labelled),
            "slices_read": None if file.slices_read is None else list(file.slices_read),
            "source": dict(file.source) or None,
            "filled": {name: list(slices) for name, slices in file.filled.items()} or None,
            "invented": list(file.invented) or None,
        })  # fmt: skip

    fields: Mapping[str, Any] = {
        "id": case.id,
        "patient": None if case.patient == case.id else case.patient,
        "group": case.group,
        "split": case.split,
        "image": image(),
        "truth": None if case.truth is None else relative(case.truth),
        "raters": {name: reading(file) for name, file in case.raters.items()} or None,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _short(fields: Mapping[str, Any]) -> str | dict[str, Any]:
    """The fields that are set; a path alone is written bare."""
    kept = {key: value for key, value in fields.items() if value is not None}
    return kept["path"] if list(kept) == ["path"] else kept


def read_image(dataset: Dataset, entry: CaseEntry) -> Volume:
    """The CT of a case in HU, from any kind of image in `READERS`.

    Raises:
        FileReadError, GeometryError, VoxelError, DicomError: see the readers; the case is named.
        ConfigError: an option under `image:` that this kind of image does not know.
    """
    reader, where = _image_reader(dataset, entry)
    return reader.read(entry.image, where=where, **entry.image_options.reading)


def read_image_grid(dataset: Dataset, entry: CaseEntry) -> Geometry:
    """The grid of a case's image, by headers alone.

    Raises:
        FileReadError, GeometryError, DicomError: see the readers; the case is named.
        ConfigError: as `read_image`.
    """
    reader, where = _image_reader(dataset, entry)
    return reader.grid(entry.image, where=where, **entry.image_options.reading)


def _image_reader(dataset: Dataset, entry: CaseEntry) -> tuple[Reader, str]:
    where = f"case {entry.id}, image {dataset.shown(entry.image)}"
    reader = find_reader(entry.image, where=where)
    for name, value in entry.image_options.reading.items():
        if name not in reader.options or value not in (reader.options[name] or (value,)):
            raise ConfigError(f"`{name}: {value}` means nothing for this kind of image", where=where,
                              expected=reader.options_text, do="Take it out of `image:`.")  # fmt: skip
    return reader, where


def read_reading(dataset: Dataset, entry: CaseEntry, rater: str) -> Reading:
    """One rater's labels of a case: a `LabelMap`, or a `RegionMap` where the data set lists a mask for each structure.

    Raises:
        LabelError: the rater did not read the case, or the file holds unknown values; case and rater are named.
        FileReadError, GeometryError: see `label_files.read_labels`.
    """
    file, where = _label_file(dataset, entry, rater)
    tilt, labels = entry.image_options.label_tilt, dataset.labels
    if file.path is None:
        return read_regions(
            file.masks, labels, where=where, labelled=file.labelled, slices_read=file.slices_read, tilt=tilt
        )
    return read_labels(file.path, labels, where=where, labelled=file.labelled, slices_read=file.slices_read, tilt=tilt)


def read_reading_grid(dataset: Dataset, entry: CaseEntry, rater: str) -> Geometry:
    """The grid of one rater's labels, by headers alone; separate masks must all lie on it.

    Raises:
        LabelError: the rater did not read the case.
        FileReadError, GeometryError: see `label_files.read_label_grid`.
    """
    file, where = _label_file(dataset, entry, rater)
    tilt = entry.image_options.label_tilt
    if file.path is None:
        return read_regions_grid(file.masks, where=where, tilt=tilt)
    return read_label_grid(file.path, where=where, tilt=tilt)


def _label_file(dataset: Dataset, entry: CaseEntry, rater: str) -> tuple[LabelFile, str]:
    if rater not in entry.raters:
        raise LabelError(f"rater '{rater}' has no file for this case", where=f"case {entry.id}",
                         got=", ".join(entry.raters) or "no rater")  # fmt: skip
    file = entry.raters[rater]
    shown = "" if file.path is None else f" ({dataset.shown(file.path)})"
    return file, f"case {entry.id}, rater {rater}{shown}"


def read_truth(dataset: Dataset, entry: CaseEntry) -> LabelMap | None:
    """The external truth of a case, or None when it has none.

    Raises:
        LabelError, FileReadError, GeometryError: see `label_files.read_labels`; the case is named.
    """
    if entry.truth is None:
        return None
    where = f"case {entry.id}, truth ({dataset.shown(entry.truth)})"
    return read_labels(entry.truth, dataset.labels, where=where, tilt=entry.image_options.label_tilt)


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
