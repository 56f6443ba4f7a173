"""One case of a data set under examination: by the headers of its files, or with every voxel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

from medseg.evaluation.structures import StructureMeasure
from medseg.imaging.regions import Reading
from medseg.io import manifest
from medseg.io.label_files import read_label_grid
from medseg.io.manifest import CaseEntry, Dataset
from medseg.report.doctor import TRUTH, CaseRow, Problem
from medseg.report.doctor_cuts import Drawn
from medseg.report.doctor_views import case_views
from medseg.workflows.checking_desk import CaseDesk
from medseg.workflows.checking_image import ImageFacts, check_hu, check_image, listed, read_image, read_image_facts
from medseg.workflows.checking_reading import COPY, check_grid, check_identical, check_reading


@dataclass(frozen=True)
class Examined:
    """What one case gave: its row, its problems, and what is compared with other cases.

    Args:
        views: three planes as SVG, when they were asked for.
    """

    row: CaseRow
    problems: tuple[Problem, ...]
    facts: ImageFacts | None = None
    views: tuple[str, ...] = ()


def examine_headers(dataset: Dataset, entry: CaseEntry) -> Examined:
    """The case by the headers of its files: are they there, and do all lie on one grid."""
    desk = CaseDesk(dataset, entry)
    facts = desk.attempt(lambda: read_image_facts(dataset, entry))
    grids = {rater: desk.attempt(lambda rater=rater: manifest.read_reading_grid(dataset, entry, rater))
             for rater in entry.raters}  # fmt: skip
    if (truth := entry.truth) is not None:
        where = f"case {entry.id}, truth ({dataset.shown(truth)})"
        grids[TRUTH] = desk.attempt(lambda: read_label_grid(truth, where=where, tilt=entry.image_options.label_tilt))
    _check_listing(desk, facts)
    check_image(desk, facts)
    for name, grid in grids.items():
        check_grid(desk, name, facts and facts.geometry, grid)
    for (a, first), (b, second) in combinations(entry.raters.items(), 2):
        if first.paths == second.paths:
            desk.add("warning", f"case {entry.id}: raters {a} and {b} name the same file", COPY)
    return Examined(_row(entry, facts), tuple(desk.problems), facts)


def examine_voxels(dataset: Dataset, entry: CaseEntry, *, draw: bool = False) -> Examined:
    """The case with every voxel of its image and its readings.

    Args:
        draw: make the three views.
    """
    desk = CaseDesk(dataset, entry)
    volume, facts = desk.attempt(lambda: read_image(dataset, entry)) or (None, None)
    readings = {name: reading for name, read in _readers(dataset, entry) if (reading := desk.attempt(read)) is not None}
    _check_listing(desk, facts)
    check_image(desk, facts)
    grid = None if facts is None else facts.geometry
    air = None if volume is None or facts is None else check_hu(desk, volume, facts)
    found = {name: check_reading(desk, name, reading, grid, air) for name, reading in readings.items()}
    check_identical(desk, {name: reading for name, reading in readings.items() if name != TRUTH})
    row = replace(
        _row(entry, facts),
        volumes_ml={name: _volumes(readings[name], measures) for name, measures in found.items()},
        components={name: _components(readings[name], measures) for name, measures in found.items()},
    )
    if volume is None or not draw:
        return Examined(row, tuple(desk.problems), facts)
    drawn = {
        name: Drawn(reading, {label: measure.box for label, measure in found[name].items()})
        for name, reading in readings.items()
        if not volume.geometry.differences(reading.geometry)
    }
    return Examined(row, tuple(desk.problems), facts, case_views(volume, drawn, dataset.raters))


def _readers(dataset: Dataset, entry: CaseEntry) -> Iterator[tuple[str, Callable[[], Reading | None]]]:
    for rater in entry.raters:
        yield rater, lambda rater=rater: manifest.read_reading(dataset, entry, rater)
    if entry.truth is not None:
        yield TRUTH, lambda: manifest.read_truth(dataset, entry)


def _row(entry: CaseEntry, facts: ImageFacts | None) -> CaseRow:
    filled = {rater: dict(file.filled) for rater, file in entry.raters.items() if file.filled}
    row = CaseRow(entry.id, entry.patient, entry.group, entry.split, tuple(entry.raters), filled=filled)
    if facts is None:
        return row
    grid = facts.geometry
    return replace(
        row,
        shape=grid.shape,
        spacing_mm=grid.spacing_mm,
        orientation=grid.orientation,
        field_of_view_mm=grid.field_of_view_mm,
        hu_range=facts.hu_range,
        kernel=facts.kernel,
        tilt_deg=facts.tilt_deg,
        invented=facts.invented,
    )


def _check_listing(desk: CaseDesk, facts: ImageFacts | None) -> None:
    """What `dataset.yaml` itself says about the case."""
    if desk.dataset.raters and not desk.entry.raters:
        # test images without labels are usual in public data sets, and a case for training is none without a label
        test = desk.entry.split == "test"
        desk.add("warning" if test else "error", f"case {desk.entry.id}: no rater has read it",
                 "It can be predicted and not judged; add a label file under its `raters:` to judge." if test else
                 "Add a label file under its `raters:`, or take the case out.")  # fmt: skip
    for rater, file in desk.entry.raters.items():
        for label, slices in file.filled.items():
            desk.add("warning", f"{desk.where(rater)}: nobody drew {label} on {listed(slices)}; it was interpolated",
                     "Have the rater look at these slices, or leave them out (`slices_read:`).")  # fmt: skip
        if file.invented and not (facts and facts.invented):
            desk.add("warning", f"{desk.where(rater)}: the labels of {listed(file.invented)} stand for no slice of the "
                     "scanner", "Find the missing slices, or keep the case out of the test split.")  # fmt: skip


def _volumes(reading: Reading, found: Mapping[str, StructureMeasure]) -> dict[str, float]:
    """ml of every structure that was looked for or drawn, 0 when it is not there."""
    return {
        name: found[name].volume_ml if name in found else 0.0
        for name in reading.label_set.foreground
        if name in found or reading.was_read(name)
    }


def _components(reading: Reading, found: Mapping[str, StructureMeasure]) -> dict[str, int]:
    return {
        name: found[name].components if name in found else 0
        for name in reading.label_set.foreground
        if name in found or reading.was_read(name)
    }
