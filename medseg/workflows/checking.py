"""`medseg check`: what a data set holds, everything that is wrong with it, and how to mend each fault."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from medseg.config import nearest
from medseg.errors import ConfigError, LabelError, MedsegError
from medseg.imaging.case import check_same_grid
from medseg.imaging.labels import LabelMap, LabelSet
from medseg.imaging.volume import Volume
from medseg.io import manifest, nifti
from medseg.io.manifest import CaseEntry, Dataset

HIGHEST_AIR_HU = -500.0  # a CT with any air around or in the body goes below; stored values without rescale do not
LOWEST_HU, HIGHEST_HU = -10_000.0, 31_743.0  # the extended CT scale ends at 30 710; padding may reach -3024 or lower
TRUTH = "truth"
T = TypeVar("T")


SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Problem:
    """One fault: `case` is empty when it concerns the whole data set, `do` says how to mend it."""

    severity: Literal["error", "warning"]
    case: str
    message: str
    do: str = ""


@dataclass(frozen=True)
class CaseRow:
    """What one case holds; geometry and HU are None when the image could not be read.

    Args:
        volumes_ml: for each reading (a rater, or `truth`) the volume of each structure in it.
    """

    case: str
    patient: str
    group: str | None
    split: str | None
    raters: tuple[str, ...]
    volumes_ml: Mapping[str, Mapping[str, float]]
    shape: tuple[int, int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    orientation: str | None = None
    hu_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class CheckReport:
    """Every case and every problem of a data set; `ok` when no problem is an error."""

    labels: Mapping[str, int]
    raters: tuple[str, ...]
    cases: tuple[CaseRow, ...]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        return all(problem.severity != "error" for problem in self.problems)

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps({"ok": self.ok, **asdict(self)}, indent=2)


def check(
    dataset: Dataset | str | Path, *, on_case: Callable[[int, int], None] = lambda done, total: None
) -> CheckReport:
    """Reads every file of a data set and lists all that is wrong, not only the first fault.

    A fault in `dataset.yaml` itself is a problem like any other, but then nothing else can be looked at.

    Args:
        dataset: a data set, its `dataset.yaml` or the folder that holds one.
        on_case: called with (done, total) after each case.

    Raises:
        FileReadError: there is no `dataset.yaml`.
    """
    try:
        dataset = dataset if isinstance(dataset, Dataset) else manifest.read_dataset(dataset)
    except (ConfigError, LabelError) as error:
        return CheckReport({}, (), (), (Problem("error", "", str(error), "Mend it and check again."),))
    problems = list(_dataset_problems(dataset))
    rows = []
    for done, entry in enumerate(dataset.cases, 1):
        row, found = _check_case(dataset, entry)
        rows.append(row)
        problems += found
        on_case(done, len(dataset.cases))
    problems += _never_drawn(dataset, rows)
    return CheckReport(dict(dataset.labels.values), dataset.raters, tuple(rows), tuple(problems))


def _dataset_problems(dataset: Dataset) -> Iterator[Problem]:
    splits: dict[str, set[str]] = {}
    for case in dataset.cases:
        splits.setdefault(case.patient, set()).add(case.split or "no split")
    for patient, names in splits.items():
        if len(names) > 1:
            cases = ", ".join(case.id for case in dataset.cases if case.patient == patient)
            yield Problem("error", "", f"patient {patient} is in several splits: {', '.join(sorted(names))} ({cases})",
                          "Give all cases of one patient the same `split:`, or the test set is no test.")  # fmt: skip
    for name in sorted({case.split for case in dataset.cases if case.split} - set(SPLITS)):
        yield Problem("warning", "", f"the split '{name}' is not one of {', '.join(SPLITS)}{nearest(name, SPLITS)}",
                      "Correct it, or know that training takes every case outside the split `test`.")  # fmt: skip
    if not dataset.raters:
        yield Problem("warning", "", "the data set lists no rater, so it can only be predicted",
                      "Add `raters:` and one label file a case to train or judge.")  # fmt: skip
    for rater in dataset.raters:
        if not any(rater in case.raters for case in dataset.cases):
            yield Problem("warning", "", f"rater {rater} has read no case", "Take the rater out of `raters:`.")


def _check_case(dataset: Dataset, entry: CaseEntry) -> tuple[CaseRow, list[Problem]]:
    problems: list[Problem] = []
    if dataset.raters and not entry.raters:
        problems.append(Problem("error", entry.id, f"case {entry.id}: no rater has read it",
                                "Add a label file under its `raters:`, or take the case out."))  # fmt: skip
    volume = _attempt(lambda: manifest.read_image(dataset, entry), entry, problems)
    if volume is not None:
        problems += _hu_problems(entry, volume)
    readings: dict[str, LabelMap] = {}
    for rater in entry.raters:
        reading = _attempt(lambda rater=rater: manifest.read_reading(dataset, entry, rater), entry, problems)
        if reading is not None:
            readings[rater] = reading
    truth = _attempt(lambda: manifest.read_truth(dataset, entry), entry, problems)
    for name, reading in {**readings, **({TRUTH: truth} if truth is not None else {})}.items():
        problems += _reading_problems(entry, name, reading, volume)
    problems += _identical_raters(entry, readings)
    volumes = {name: _volumes_ml(reading) for name, reading in readings.items()}
    volumes |= {TRUTH: _volumes_ml(truth)} if truth is not None else {}
    return _row(entry, volume, volumes), problems


def _attempt(read: Callable[[], T], entry: CaseEntry, problems: list[Problem]) -> T | None:
    try:
        return read()
    except MedsegError as error:
        problems.append(_as_problem(error, entry))
        return None


def _as_problem(error: MedsegError, entry: CaseEntry) -> Problem:
    return Problem("error", entry.id, str(error).removesuffix(f". {error.do}"), error.do)


def _row(entry: CaseEntry, volume: Volume | None, volumes_ml: Mapping[str, Mapping[str, float]]) -> CaseRow:
    row = (entry.id, entry.patient, entry.group, entry.split, tuple(entry.raters), volumes_ml)
    if volume is None:
        return CaseRow(*row)
    grid = volume.geometry
    hu_range = (float(volume.hu.min()), float(volume.hu.max()))
    return CaseRow(*row, grid.shape, grid.spacing_mm, grid.orientation, hu_range)


def _hu_problems(entry: CaseEntry, volume: Volume) -> Iterator[Problem]:
    low, high = float(volume.hu.min()), float(volume.hu.max())
    if low > HIGHEST_AIR_HU:
        yield Problem("warning", entry.id, f"case {entry.id}: no voxel is near the HU of air, -1000; lowest is {low:g}",
                      "Check that the values are HU: rescale slope and intercept applied, not normalised.")  # fmt: skip
    if low < LOWEST_HU or high > HIGHEST_HU:
        yield Problem("warning", entry.id, f"case {entry.id}: values from {low:g} to {high:g} are outside any CT scale",
                      "Check that the values are HU and that the byte order was right.")  # fmt: skip


def _reading_problems(entry: CaseEntry, name: str, reading: LabelMap, volume: Volume | None) -> Iterator[Problem]:
    where = f"case {entry.id}, " + (name if name == TRUTH else f"rater {name}")
    if volume is not None:
        try:
            check_same_grid(volume.geometry, reading.geometry, where=where)
        except MedsegError as error:
            yield _as_problem(error, entry)
    drawn = [label for label, volume_ml in _volumes_ml(reading).items() if volume_ml > 0]
    if not drawn:
        yield Problem("warning", entry.id, f"{where}: nothing is labelled",
                      "If the rater did not read the case, take the file out: missing is not empty.")  # fmt: skip
    for label in drawn:
        if not reading.was_read(label):
            yield Problem("warning", entry.id, f"{where}: {label} is drawn but not in `labelled`",
                          f"Add {label} to `labelled`; it counts as not read now.")  # fmt: skip
    yield from _swapped_sides(entry, where, reading)


def _swapped_sides(entry: CaseEntry, where: str, reading: LabelMap) -> Iterator[Problem]:
    """Left lies towards smaller R: a pair whose centres lie the other way round was probably swapped."""
    for pair in reading.label_set.mirror_pairs:
        left = next((name for name in pair if "left" in name.lower() or name.lower().endswith("_l")), None)
        if left is None:
            continue
        right = pair[1] if left == pair[0] else pair[0]
        points = [np.argwhere(reading.mask(name)) for name in (left, right)]
        if not all(len(voxels) for voxels in points):
            continue
        left_mm, right_mm = (float(reading.geometry.world(voxels.mean(axis=0))[0]) for voxels in points)
        if left_mm > right_mm:
            fault = f"{where}: {left} lies {left_mm - right_mm:.0f} mm to the patient's right of {right}"
            yield Problem("warning", entry.id, fault, "Check whether the two were swapped or the image is mirrored.")


def _identical_raters(entry: CaseEntry, readings: Mapping[str, LabelMap]) -> Iterator[Problem]:
    for (a, first), (b, second) in combinations(readings.items(), 2):
        if first.labels.any() and np.array_equal(first.labels, second.labels):
            yield Problem("warning", entry.id, f"case {entry.id}: raters {a} and {b} are identical in every voxel",
                          "One is probably a copy; two people never draw the same.")  # fmt: skip


def _never_drawn(dataset: Dataset, rows: list[CaseRow]) -> Iterator[Problem]:
    readings = [volumes for row in rows for volumes in row.volumes_ml.values()]
    for label in dataset.labels.foreground:
        if readings and not any(volumes.get(label) for volumes in readings):
            yield Problem("warning", "", f"{label} is in no reading of any case", "Take it out of `labels:`.")


def _volumes_ml(reading: LabelMap) -> dict[str, float]:
    """Volume of every structure of the label set, 0 when it is not there."""
    label_set: LabelSet = reading.label_set
    counts = dict(zip(*nifti.count_values(reading.labels), strict=True))
    voxel_ml = reading.geometry.voxel_ml
    return {name: float(counts.get(label_set.values[name], 0)) * voxel_ml for name in label_set.foreground}


def render(report: CheckReport) -> Group:
    """The report for a terminal: a table of cases, a table of volumes, the problems and a last line with the count."""
    errors = sum(problem.severity == "error" for problem in report.problems)
    warnings = len(report.problems) - errors
    verdict = f"{len(report.cases)} cases, {len(report.raters)} raters: {errors} errors, {warnings} warnings"
    parts = [_case_table(report), _volume_table(report)] if report.cases else []
    parts += [_problem_table(report)] if report.problems else []
    return Group(*parts, Text(verdict, style="bold red" if errors else "bold green"))


def _case_table(report: CheckReport) -> Table:
    table = Table("case", "patient", "group", "split", "voxels", "spacing mm", "axes", "HU", "raters", title="Cases")
    for row in report.cases:
        voxels = " x ".join(map(str, row.shape)) if row.shape else "unreadable"
        spacing = " x ".join(f"{mm:.3g}" for mm in row.spacing_mm) if row.spacing_mm else ""
        hu = f"{row.hu_range[0]:.0f} to {row.hu_range[1]:.0f}" if row.hu_range else ""
        table.add_row(row.case, row.patient, row.group or "", row.split or "", voxels, spacing, row.orientation or "",
                      hu, ", ".join(row.raters) or "none")  # fmt: skip
    return table


def _volume_table(report: CheckReport) -> Table:
    labels = [label for label in report.labels if label != "background"]
    table = Table("case", "reading", *labels, title="Volumes in ml")
    for row in report.cases:
        for reading, volumes in row.volumes_ml.items():
            table.add_row(row.case, reading, *(f"{volumes[label]:.1f}" for label in labels))
    return table


def _problem_table(report: CheckReport) -> Table:
    table = Table("", "problem", "how to mend it", title="Problems", show_lines=True)
    for problem in sorted(report.problems, key=lambda problem: problem.severity):
        colour = "red" if problem.severity == "error" else "yellow"
        table.add_row(Text(problem.severity, style=colour), Text(problem.message), Text(problem.do))
    return table
