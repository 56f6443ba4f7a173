"""Small grids, data sets and DICOM series that the tests of `io` write and then damage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.io import nifti
from medseg.io.manifest import FILE_NAME

SERIES = Path(__file__).parents[1] / "data" / "dicom"
SMALL_DATASET = """\
schema: medseg.dataset/1
labels: {background: 0, liver: 1, kidney_left: 2, kidney_right: 3}
mirror_pairs: [[kidney_left, kidney_right]]
ignore: 255
raters: [A, B]
cases:
  - {id: c001, patient: p001, group: site_a, split: train, image: images/c001.nii.gz, truth: truth/c001.nii.gz,
     raters: {A: labels/A/c001.nii.gz, B: {path: labels/B/c001.nii.gz, labelled: [liver], slices_read: [1, 3]}}}
  - {id: c002, image: images/c002.nii.gz}
"""


@pytest.fixture
def grid() -> Geometry:
    return Geometry((6, 5, 4), np.array([[-0.75, 0, 0, 10], [0, -0.75, 0, 20], [0, 0, 2.5, -30], [0, 0, 0, 1.0]]))


@pytest.fixture
def volume(grid: Geometry) -> Volume:
    return Volume(np.linspace(-1000, 900, 120, dtype=np.float32).reshape(grid.shape), grid)


@pytest.fixture
def dataset_folder(tmp_path: Path, volume: Volume) -> Path:
    """Two cases; c001 with two raters and a truth, c002 without any rater."""
    (tmp_path / FILE_NAME).write_text(SMALL_DATASET, encoding="utf-8")
    labels = np.zeros(volume.geometry.shape, dtype=np.uint8)
    labels[1:4, 1:4, 1:3] = 1
    for case in ("c001", "c002"):
        nifti.write_volume(tmp_path / "images" / f"{case}.nii.gz", volume)
    for place in ("labels/A", "labels/B", "truth"):
        nifti.write_labels(tmp_path / place / "c001.nii.gz", labels, volume.geometry)
    return tmp_path


WriteSeries = Callable[..., Path]


@pytest.fixture
def write_series(tmp_path: Path) -> WriteSeries:
    """Writes CT slices of 4 x 6 pixels at z positions; each keyword is a header element, one value or one a slice."""

    def write(heights: Sequence[float], *, name: str = "series", **elements: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True, parents=True)
        for index, height in enumerate(heights):
            own = {key: value[index] if isinstance(value, list) else value for key, value in elements.items()}
            _slice(index, height, own).save_as(folder / f"slice{index}", enforce_file_format=True)
        return folder

    return write


def _slice(index: int, height: float, elements: dict[str, Any]) -> Dataset:
    pixels = elements.pop("pixels", np.full((4, 6), 1000 + int(height), dtype=np.int16))
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.100.{index}")
    dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID, dataset.Modality = "2.25.7", "2.25.8", "CT"
    dataset.PatientName = "Doe^Jane"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelSpacing = [0.5, 0.8]
    dataset.ImagePositionPatient = [-10, -20, height]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    for key, value in elements.items():
        if value is None:
            del dataset[key]
        else:
            setattr(dataset, key, value)
    dataset.PixelData = pixels.tobytes()
    return dataset


@pytest.fixture
def as_ct(tmp_path: Path) -> Callable[[Path], Path]:
    """Copies a real MR series as if it were CT, so that what comes after the check of the modality is reached."""

    def copy(source: Path) -> Path:
        folder = tmp_path / source.name
        folder.mkdir()
        for path in source.iterdir():
            dataset = pydicom.dcmread(path)
            dataset.Modality, dataset.RescaleSlope, dataset.RescaleIntercept = "CT", 1, 0
            dataset.save_as(folder / path.name)
        return folder

    return copy
