"""A small CT, shapes drawn on it, and structure sets of them, for the tests of reading RTSTRUCT."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from medseg.imaging.geometry import Geometry
from medseg.io.dicom_rtstruct import Contoured, read_rtstruct
from medseg.io.roi_names import RoiRules
from medseg.shapes import BoolArray, FloatArray
from tests.support.rtstruct_writer import (
    Outline,
    WrittenSeries,
    in_patient,
    made_uid,
    structure_set,
)

GRID = Geometry((40, 32, 10), np.array([[-0.9, 0, 0, 20], [0, -1.1, 0, 30], [0, 0, 3.0, -50], [0, 0, 0, 1]]))
CT = WrittenSeries(GRID)
ANY_UID = re.compile(r"\d+(\.\d+){4,}")


def rules(**settings: Any) -> RoiRules:
    labels = {"liver": {"value": 1, "match": "liver.*"}, "tumour": {"value": 2, "match": "gtv.*"}}
    return RoiRules.model_validate({"labels": labels, **settings})


def ball(x: float, y: float, z: float, radius: float, geometry: Geometry = GRID) -> BoolArray:
    """Voxels within a radius in pixels; slices count three pixels each."""
    i, j, k = np.indices(geometry.shape)
    return (i - x) ** 2 + (j - y) ** 2 + (3 * (k - z)) ** 2 < radius**2


def square(x0: float, y0: float, x1: float, y1: float) -> FloatArray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def outline(pixels: FloatArray, index: float, *, kind: str = "CLOSED_PLANAR", image: bool = True) -> Outline:
    uid = made_uid(CT.name, "image", str(round(index))) if image else ""
    return kind, in_patient(pixels, index, GRID), uid


BOX = [outline(square(5.5, 5.5, 15.5, 12.5), index) for index in (3, 4, 5)]


def read(
    path: Path, dataset: Dataset | dict[str, Sequence[Outline]], *, series: WrittenSeries = CT, **options: Any
) -> Contoured:
    """Saves a structure set (or one made of the outlines) and reads it on its CT."""
    dataset = structure_set(CT, dataset) if isinstance(dataset, dict) else dataset
    dataset.save_as(path / "rs.dcm", enforce_file_format=True)
    fill = options.pop("fill_slices", False)
    return read_rtstruct(
        path / "rs.dcm", series, series.acquisition, rules(**options), fill_slices=fill, where="case c1"
    )


def saved(path: Path, dataset: Dataset) -> Path:
    dataset.save_as(path / "rs.dcm", enforce_file_format=True)
    return path / "rs.dcm"
