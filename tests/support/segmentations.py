"""Three real CT slices, two overlapping segments drawn on them, and the SEG files that highdicom writes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from medseg.imaging.acquisition import Acquisition
from medseg.imaging.geometry import Geometry
from medseg.io.dicom_seg import Segmentation
from medseg.shapes import BoolArray

DATA = Path(__file__).parents[1] / "data" / "dicom"
SEG = DATA / "seg"
REAL = Path(__file__).parents[3] / "shared" / "data" / "dicom" / "seg_dcmqi"
GRID = Geometry((23, 38, 3), np.array([[-0.7, 0, 0, -46.4649], [0, -0.7, 0, -5.01881], [0, 0, 2.5, -177.75],
                                       [0, 0, 0, 1]]))  # fmt: skip
CT = Acquisition.of_planes(GRID)
Change = Callable[[Any], None]
WriteSeg = Callable[..., Path]


def _drawn() -> dict[str, BoolArray]:
    a, b = np.zeros((2, 23, 38, 3), dtype=bool)
    a[4:15, 3:9, 0] = a[4:15, 3:9, 2] = a[4:9, 6:10, 1] = True
    b[2:9, 5:20, 1] = True
    return {"A": a, "B": b}


DRAWN = _drawn()
APART = {"A": DRAWN["A"] & ~DRAWN["B"], "B": DRAWN["B"]}  # without the overlap, as one label map can hold it


@dataclass
class FakeSeries:
    id: str
    uid: str
    frame_of_reference_uid: str
    instance_uids: dict[str, int] = field(default_factory=dict)


def named(path: Path) -> Any:
    """A dataset whose patient's name has a caret: highdicom warns of one without."""
    dataset = pydicom.dcmread(path)
    dataset.PatientName = "Doe^Jane"
    return dataset


@cache
def slices() -> list[Any]:
    """The three CT slices, bottom up."""
    return [named(path) for path in sorted((DATA / "small").iterdir())]


def ct_series() -> FakeSeries:
    """The facts of their series."""
    uids = {str(each.SOPInstanceUID): index for index, each in enumerate(slices())}
    first = slices()[0]
    return FakeSeries("series_00c0ffee", str(first.SeriesInstanceUID), str(first.FrameOfReferenceUID), uids)


@pytest.fixture
def write_seg(tmp_path: Path) -> WriteSeg:
    """Writes masks (X, Y, Z) of the three slices; `change` edits the dataset before it is saved."""

    def write(masks: dict[str, Any], kind: str = "BINARY", *, change: Change | None = None, sources: Any = None,
              **options: Any) -> Path:  # fmt: skip
        stack = np.stack([np.transpose(mask, (2, 1, 0)) for mask in masks.values()], axis=-1)
        pixels: Any = stack.astype(np.float32 if stack.dtype.kind == "f" else np.uint8)
        if kind == "LABELMAP":
            pixels = (pixels * np.arange(1, len(masks) + 1, dtype=np.uint8)).max(axis=-1)
        described = [hd.seg.SegmentDescription(number, name, codes.cid7150.Tissue, codes.cid7166.ConnectiveTissue,
                                               hd.seg.SegmentAlgorithmTypeValues.MANUAL)
                     for number, name in enumerate(masks, start=1)]  # fmt: skip
        dataset = hd.seg.Segmentation(
            sources or slices(), pixels, kind, described, series_instance_uid="2.25.1", series_number=1,
            sop_instance_uid="2.25.2", instance_number=1, manufacturer="medseg", manufacturer_model_name="test",
            software_versions="1", device_serial_number="1", **options,
        )  # fmt: skip
        if change is not None:
            change(dataset)
        path = tmp_path / "seg.dcm"
        dataset.save_as(path)
        return path

    return write


def assert_masks(found: Segmentation, expected: dict[str, BoolArray]) -> None:
    """The names in their order, and every mask voxel by voxel."""
    assert list(found.masks) == list(expected)
    for name, mask in expected.items():
        np.testing.assert_array_equal(found.masks[name], mask, err_msg=name)
