"""From slices of a scanner through a trained network to DICOM SEG and RTSTRUCT on these slices, and back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest

from medseg.imaging.prediction import Prediction
from medseg.io import nifti
from medseg.io.dicom_rtstruct import read_rtstruct
from medseg.io.dicom_seg import read_segmentation
from medseg.io.dicom_write_source import DicomSource, read_source
from medseg.io.roi_names import RoiRules
from medseg.workflows import predict
from medseg.workflows.run import open_run
from tests.support.acquired import faults, write_slices

STEP_MM = 14.0
REAL = [  # a limb, a chest, a tilted uneven head
    "sts_dicom/STS_008/image",
    "lidc_0001/dicom",
    pytest.param("dicom/ge_tilt", marks=pytest.mark.slow),
]


def scan(folder: Path, image: Path, kind: str) -> Path:
    """A phantom as axial slices: even ones, of a tilted gantry, or with one slice in three left out further up."""
    volume = nifti.read_volume(image)
    assert volume.geometry.orientation == "RAS"
    pixels = np.round(volume.hu[::-1, ::-1]).astype(np.int16)  # DICOM's axes run to the left and to the back
    x, y, z = pixels.shape
    places = [k for k in range(z) if kind != "uneven" or k < z // 2 or k % 3]
    leaning = 4.0 if kind == "tilted" else 0.0
    sizes = list(volume.geometry.spacing_mm)
    write_slices(folder, [(0.0, leaning * k, STEP_MM * k) for k in places], Columns=x, Rows=y, SliceThickness=STEP_MM,
                 PixelSpacing=[sizes[1], sizes[0]], PixelData=bytes(2 * x * y))  # fmt: skip
    for number, k in enumerate(places):
        dataset = pydicom.dcmread(folder / f"{number:03d}.dcm")
        dataset.PixelData = np.ascontiguousarray(pixels[:, :, k].T).tobytes()
        dataset.save_as(folder / f"{number:03d}.dcm")
    return folder


def check_chain(run: Path, series: Path, out: Path) -> None:
    """Predicts and reads both DICOM objects back with our readers and with highdicom."""
    (written,) = predict(run, series, out, formats=["nifti", "dicom-seg", "rtstruct"], gaps="resample")
    source, labels = read_source(series, gaps="resample"), open_run(run).labels
    seg, regions = (out / form / f"{written.name[:-7]}.dcm" for form in ("dicom-seg", "rtstruct"))
    values, _ = nifti.read_label_values(written)
    on_slices = source.indices_on_slices(Prediction(values, source.acquisition.geometry, labels))
    assert on_slices.any(), "the network found something"

    uids = [image.facts.sop_uid for image in source.slices]
    theirs = hd.seg.segread(seg).get_pixels_by_source_instance(uids, combine_segments=True)
    np.testing.assert_array_equal(theirs.T, on_slices)
    _check_reading(seg, regions, source, labels.foreground, on_slices)
    if shutil.which("dciodvfy"):
        assert faults(seg) == [] and faults(regions) == []


def _check_reading(seg: Path, regions: Path, source: DicomSource, names: Any, on_slices: Any) -> None:
    masks = read_segmentation(seg, series=source.series, acquisition=source.acquisition).masks
    rules = {name: {"value": value, "match": name, "gaps": "keep"} for value, name in enumerate(names, 1)}
    read = RoiRules.model_validate({"labels": rules, "empty": "absent"})
    outlined = read_rtstruct(regions, source.series, source.acquisition, read).masks
    for index, name in enumerate(names, 1):
        marked = source.acquisition.to_grid(on_slices == index)
        np.testing.assert_array_equal(masks[name], marked)
        drawn = outlined[name]
        assert 2 * np.count_nonzero(drawn & marked) >= 0.99 * (np.count_nonzero(drawn) + np.count_nonzero(marked)), name


@pytest.mark.parametrize("kind", ["even", "tilted", "uneven"])
def test_what_a_network_finds_comes_back_from_dicom(
    learned_run: Path, held_out_image: Path, tmp_path: Path, kind: str
) -> None:
    check_chain(learned_run, scan(tmp_path / "ct", held_out_image, kind), tmp_path / "out")


@pytest.mark.parametrize("name", REAL)
def test_what_a_network_finds_in_scans_of_patients_comes_back_from_dicom(
    learned_run: Path, shared_data: Path, tmp_path: Path, name: str
) -> None:
    check_chain(learned_run, shared_data / name, tmp_path / "out")
