"""Readings to compare, from a data set with predictions or from bare folders, one case at a time on one grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.errors import FileReadError, GeometryError, LabelError, UsageError
from medseg.evaluation.agreement import TRUTH
from medseg.imaging.cosines import squared
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import BACKGROUND, LabelMap, LabelSet
from medseg.imaging.regions import Reading, turned
from medseg.imaging.volume import Volume
from medseg.io.label_files import is_label_file, label_stem, read_label_values, read_labels
from medseg.io.manifest import CaseEntry, Dataset, read_dataset, read_image, read_reading, read_truth

UPRIGHT = "Import the series with --tilt resample: distances are measured along axes at right angles."
LISTED = 10  # names shown in an error


@dataclass(frozen=True)
class ReadCase:
    """One case with everything that is to be compared, on the grid of its first reading.

    `readings` maps raters, in their order, and then the model to their labels; who is missing is not in it.
    """

    id: str
    patient: str
    readings: Mapping[str, Reading]
    truth: Reading | None

    @property
    def geometry(self) -> Geometry:
        return next(iter(self.readings.values())).geometry

    @property
    def diagonal_mm(self) -> float:
        """Length of the image's diagonal: the largest distance that two voxels can have."""
        return float(np.linalg.norm((np.array(self.geometry.shape) - 1) * self.geometry.spacing_mm))


@dataclass(frozen=True)
class Readings:
    """Where readings come from; nothing is read until `read` is called with a case id.

    Args:
        raters: all raters; `model` the model's name, or None.
        cases: case id to patient, in order.
        labels: names of the structures, or None when every file brings its own (bare folders).
        files: shown name to path, of every file that enters the numbers.
        read: gives the case of an id.
        image: gives the CT of an id, or is None.
        notes: what a reader of the report must know about the input.
        anonymous: rater K is another person in every case.
    """

    raters: tuple[str, ...]
    model: str | None
    cases: Mapping[str, str]
    labels: tuple[str, ...] | None
    files: Mapping[str, Path]
    read: Callable[[str], ReadCase]
    image: Callable[[str], Volume] | None = None
    notes: tuple[str, ...] = ()
    anonymous: bool = False


def open_dataset(dataset: Dataset | str | Path) -> Dataset:
    """The data set itself, or read from its `dataset.yaml` or folder."""
    return dataset if isinstance(dataset, Dataset) else read_dataset(dataset)


def dataset_readings(
    dataset: Dataset, predictions: str | Path | None, *, split: str | None = None, allow_missing: bool = False
) -> Readings:
    """Raters of a data set and, beside them, the predictions `<case>.nii.gz` of a folder.

    Raises:
        UsageError: the split is empty, or the predictions folder has none of the cases.
        FileReadError: predictions are missing and `allow_missing` is not given; all are listed.
    """
    entries = {entry.id: entry for entry in dataset.select(split) if entry.raters or entry.truth}
    if not entries:
        what = "no case has a reader" if split is None else f"no case of split '{split}' has a reader"
        raise UsageError(what, where="dataset.yaml", do="Check the split and the raters in dataset.yaml.")
    if TRUTH in dataset.raters:
        raise LabelError(f"a rater is called '{TRUTH}'", where="dataset.yaml", do="Rename the rater.")
    model = None if predictions is None else model_name(predictions, (*dataset.raters, TRUTH))
    found = {} if predictions is None else _predictions(Path(predictions), list(entries), allow_missing=allow_missing)
    files = {f"{model}/{path.name}": path for path in found.values()}
    for entry in entries.values():
        paths = [*(p for file in entry.raters.values() for p in file.paths), *([entry.truth] if entry.truth else [])]
        files |= {dataset.shown(path): path for path in paths}

    def read(case_id: str) -> ReadCase:
        return _read_entry(dataset, entries[case_id], model, found.get(case_id))

    patients = {case_id: entry.patient for case_id, entry in entries.items()}
    return Readings(
        dataset.raters,
        model,
        patients,
        dataset.labels.foreground,
        files,
        read,
        image=lambda case_id: read_image(dataset, entries[case_id]),
        anonymous=dataset.anonymous,
    )


def folder_readings(raters: str | Path, model: str | Path | None, *, allow_missing: bool = False) -> Readings:
    """Raters of `raters/<rater>/<case>.nii.gz` and a model of `model/<case>.nii.gz`; every non-zero value is a label.

    Any format of `label_files` will do, each file by its own suffix.

    Raises:
        FileReadError: a folder is missing, or predictions are and `allow_missing` is not given.
        UsageError: there is no rater with a file.
    """
    root = Path(raters)
    if not root.is_dir():
        raise FileReadError("no such folder", where=root.name, expected="one folder per rater in it")
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    by_rater = {folder.name: files for folder in folders if (files := _case_files(folder))}
    if not by_rater:
        raise UsageError("no rater", where=root.name, expected="<rater>/<case>.nii.gz")
    cases = sorted({case for files in by_rater.values() for case in files})
    name = None if model is None else model_name(model, tuple(by_rater))
    found = {} if model is None else _predictions(Path(model), cases, allow_missing=allow_missing)
    unread = sorted(set(_case_files(Path(model))) - set(cases)) if model is not None else []
    notes = [f"{len(unread)} predictions are of cases that no reader read and were left out"] if unread else []

    def read(case_id: str) -> ReadCase:
        paths = {rater: files[case_id] for rater, files in by_rater.items() if case_id in files}
        if name is not None and case_id in found:
            paths[name] = found[case_id]
        readings = {reader: _bare(path, f"case {case_id}, {reader}") for reader, path in paths.items()}
        return ReadCase(case_id, case_id, on_one_grid(readings, case_id), None)

    files = {f"raters/{rater}/{p.name}": p for rater, paths in by_rater.items() for p in paths.values()}
    files |= {f"{name}/{path.name}": path for path in found.values()}
    return Readings(tuple(by_rater), name, {case: case for case in cases}, None, files, read, notes=tuple(notes))


def model_name(folder: str | Path, taken: Sequence[str] = ()) -> str:
    """The folder's own name; `(model)` is added where a rater is called the same."""
    name = Path(folder).resolve().name or "model"
    return f"{name} (model)" if name in taken else name


def on_one_grid(readings: Mapping[str, Reading], case_id: str) -> dict[str, Reading]:
    """The readings on the grid of the first; the same lattice stored with other axes or flips is turned exactly.

    Raises:
        GeometryError: a reading lies on another lattice, or on a sheared one (a gantry tilt that was kept), where no
            distance could be measured along the axes; case, reader and numbers are named.
    """
    names = list(readings)
    first = readings[names[0]].geometry
    squared(first, where=f"case {case_id}, {names[0]}", do=UPRIGHT)
    return {name: _onto(first, reading, case_id, name, names[0]) for name, reading in readings.items()}


def check_same_lattice(grid: Geometry, target: Geometry, *, where: str, first: str) -> None:
    """Raises GeometryError, naming what differs in numbers, unless the grids are equal up to axis order and flips."""
    if grid.differences(target) and (faults := grid.canonical().differences(target.canonical())):
        raise GeometryError(
            f"another grid than {first}",
            where=where,
            got="; ".join(faults) + f" (against {first})",
            do="Export the labels on one grid; medseg never resamples labels in silence.",
        )


def _onto(target: Geometry, reading: Reading, case_id: str, name: str, first: str) -> Reading:
    if not reading.geometry.differences(target):
        return reading
    where = f"case {case_id}, {name}"
    check_same_lattice(reading.geometry, target, where=where, first=first)
    if reading.slices_read is not None:  # they are counted along the stored third axis
        raise GeometryError(
            f"slices_read is given, but the axes are stored in another order than {first}'s",
            where=where,
            expected=target.orientation,
            got=reading.geometry.orientation,
            do=f"Export the labels in the axis order of {first}.",
        )
    return turned(reading, target)


def _read_entry(dataset: Dataset, entry: CaseEntry, model: str | None, prediction: Path | None) -> ReadCase:
    readings: dict[str, Reading] = {
        rater: read_reading(dataset, entry, rater) for rater in dataset.raters if rater in entry.raters
    }
    if model is not None and prediction is not None:
        where = f"case {entry.id}, model {model} ({prediction.name})"
        readings[model] = read_labels(prediction, dataset.labels, where=where, tilt=entry.image_options.label_tilt)
    truth = read_truth(dataset, entry)
    together = on_one_grid({**readings, **({TRUTH: truth} if truth else {})}, entry.id)
    truth = together.pop(TRUTH, None)
    return ReadCase(entry.id, entry.patient, together, truth)


def _predictions(folder: Path, cases: Sequence[str], *, allow_missing: bool) -> dict[str, Path]:
    """Case to prediction file."""
    if not folder.is_dir():
        raise FileReadError("no such folder", where=folder.name, expected="<case>.nii.gz in it", do="Check the path.")
    files = _case_files(folder)
    missing = [case for case in cases if case not in files]
    if len(missing) == len(cases):
        raise UsageError("no prediction of any case", where=folder.name, expected=f"{cases[0]}.nii.gz and so on",
                         got=_listed(sorted(files)) or "no label file")  # fmt: skip
    if missing and not allow_missing:
        raise FileReadError(
            f"{len(missing)} of {len(cases)} cases have no prediction",
            where=folder.name,
            got=_listed(missing),
            do="Predict them, or pass --allow-missing to leave them out.",
        )
    return {case: files[case] for case in cases if case in files}


def _case_files(folder: Path) -> dict[str, Path]:
    """Case id to label file of a folder."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not is_label_file(path) or not path.is_file():
            continue
        case = label_stem(path)
        if case in files:
            raise UsageError(f"two files of case {case}", where=folder.name, got=f"{files[case].name}, {path.name}")
        files[case] = path
    return files


def _bare(path: Path, where: str) -> LabelMap:
    labels, geometry = read_label_values(path, where=where)
    values = [int(value) for value in np.unique(labels[labels != 0])]
    return LabelMap(labels, geometry, LabelSet({BACKGROUND: 0, **{str(value): value for value in values}}))


def _listed(names: Sequence[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
