"""Which cases and slices a report shows, and how they lie on the page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.evaluation.paired import CaseAgreement
from medseg.imaging.geometry import Geometry, reorient
from medseg.imaging.regions import Reading
from medseg.imaging.volume import Volume
from medseg.report.overlay import Overlay
from medseg.shapes import BoolArray, FloatArray
from medseg.workflows.readings import ReadCase, check_same_lattice


def shown_cases(rows: Sequence[CaseAgreement]) -> list[tuple[str, CaseAgreement]]:
    """Best, median and worst case by D (by the readers' own agreement where there is no D), each once.

    Args:
        rows: the cases of one label and metric; higher D is better.
    """
    key = "difference" if any(not np.isnan(row.difference) for row in rows) else "human_human"
    known = sorted((row for row in rows if not np.isnan(getattr(row, key))), key=lambda row: getattr(row, key))
    places = {"best": -1, "median": len(known) // 2, "worst": 0}
    chosen: dict[str, tuple[str, CaseAgreement]] = {}
    for name, place in places.items() if known else ():
        chosen.setdefault(known[place].case, (name, known[place]))
    return list(chosen.values())


def case_overlay(case: ReadCase, label: str, title: str, volume: Volume | None) -> Overlay:
    """The axial slice on which the union of all outlines of `label` is largest, seen from the feet.

    Rows run from front to back, columns from the patient's right to left, as radiologists look at it.

    Raises:
        GeometryError: the image lies on another grid than the labels.
    """
    grid = case.geometry
    readings = {name: reading for name, reading in case.readings.items() if reading.was_read(label)}
    masks = {name: _canonical(_mask(reading, label), grid) for name, reading in readings.items()}
    areas = np.any([*masks.values()], axis=0).sum(axis=(0, 1))
    level = int(areas.argmax())
    hu = None if volume is None else _hu(volume, grid, case.id)[:, :, level]
    x_mm, y_mm, _ = grid.canonical().spacing_mm
    return Overlay(
        case.id,
        title,
        {name: _page(mask[:, :, level]) for name, mask in masks.items()},
        (y_mm, x_mm),
        None if hu is None else _page(hu),
    )


def _mask(reading: Reading, label: str) -> BoolArray:
    if label not in reading.label_set.values:  # bare folders: a file that lacks the value marks nothing
        return np.zeros(reading.geometry.shape, dtype=bool)
    return reading.mask(label)


def _canonical(mask: BoolArray, grid: Geometry) -> BoolArray:
    return reorient(mask, grid, grid.canonical())


def _hu(volume: Volume, grid: Geometry, case_id: str) -> FloatArray:
    check_same_lattice(volume.geometry, grid, where=f"case {case_id}, image", first="the labels")
    return reorient(volume.hu, volume.geometry, grid.canonical())


def _page(plane):
    """(X, Y) with X to the right and Y to the front, as rows from front to back and columns from right to left."""
    return plane[::-1, ::-1].T
