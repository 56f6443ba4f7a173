"""Viewer pages of the cases in which the model is farthest from the readers: three planes that open offline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.evaluation.agreement import LabelAgreement, Protocol
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.paired import CaseAgreement
from medseg.files import write_text
from medseg.imaging.geometry import Geometry, reorient
from medseg.io.nifti import write_labels
from medseg.report.tables import Link, Table
from medseg.report.viewer import ViewedCase, viewer_page
from medseg.report.wording import number, structure
from medseg.workflows.agreement_scoring import models_of
from medseg.workflows.readings import Readings, check_same_lattice

FOLDER = "viewer"


def worst_rows(found: Sequence[LabelAgreement], deciding: str | None, metric: str, count: int) -> list[CaseAgreement]:
    """The cases with the lowest D of the label that decided, by the first model; none without a model."""
    rows = [row for label in found if label.label == deciding for row in next(iter(label.rows.values()))]
    known = [row for row in rows if row.metric == metric and not np.isnan(row.difference)]
    return sorted(known, key=lambda row: row.difference)[:count]


def write_viewers(
    folder: Path, source: Readings, rows: Sequence[CaseAgreement], protocol: Protocol, *, images: bool
) -> None:
    """Writes one page per case into `folder/viewer`, one case in memory at a time."""
    for row in rows:
        title = f"{structure(row.label)}: D {number(row.difference, signed=True)} ({METRICS[protocol.metric].title})"
        page = viewer_page(_viewed(source, row, title, images), nifti_bytes, models_of(source))
        write_text(folder / FOLDER / file_name(row.case), page)


def viewer_table(rows: Sequence[CaseAgreement]) -> list[Table]:
    """Which page shows which case; empty without pages."""
    pages = viewer_pages(rows)
    lines = [[Link(row.case, pages[row.case]), row.label, number(row.difference, signed=True)] for row in rows]
    note = "Three linked planes with everybody's outline; the files lie beside this page and open offline."
    return [Table("Viewer pages of the worst cases", ("case", "label", "D"), lines, note)] if rows else []


def viewer_pages(rows: Sequence[CaseAgreement]) -> dict[str, str]:
    """Case to its page, from the folder of the report."""
    return {row.case: f"{FOLDER}/{file_name(row.case)}" for row in rows}


def file_name(case: str) -> str:
    """The page's name; letters that a file system may refuse become `_`."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in case) + ".html"


def nifti_bytes(values: npt.NDArray[Any], geometry: Geometry) -> bytes:
    """The bytes of a NIfTI-1 file of an integer array (X, Y, Z)."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "volume.nii.gz"
        write_labels(path, values, geometry)
        return path.read_bytes()


def _viewed(source: Readings, row: CaseAgreement, title: str, images: bool) -> ViewedCase:
    case = source.read(row.case)
    grid, target = case.geometry, case.geometry.canonical()
    x, y, z = (slice(0, size) for size in grid.shape)
    readings = {name: reading for name, reading in case.readings.items() if reading.was_read(row.label)}
    if case.truth is not None:
        readings["truth"] = case.truth
    masks = {name: reorient(reading.mask_in(row.label, (x, y, z)), grid, target) for name, reading in readings.items()}
    volume = source.image(row.case) if images and source.image else None
    if volume is None:
        return ViewedCase(row.case, title, target, masks)
    check_same_lattice(volume.geometry, grid, where=f"case {row.case}, image", first="the labels")
    return ViewedCase(row.case, title, target, masks, reorient(volume.hu, volume.geometry, target))
