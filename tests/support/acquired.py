"""CT slices at any positions, as a scanner leaves them: even, tilted or uneven; and dciodvfy's opinion of a file."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.prediction import Prediction
from medseg.io.dicom_quiet import quiet_pydicom
from medseg.io.dicom_write_source import DicomSource
from medseg.shapes import IntArray
from tests.support.rtstruct_writer import made_uid

LABELS = LabelSet({"background": 0, "kidney_left": 2, "Ring": 7})
SHAPE = (40, 36)  # pixels along X, Y
needs_dciodvfy = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy (Debian's dicom3tools) is not installed"
)
EVEN = [(0.0, 0.0, 2.0 * z) for z in range(5)]
TILTED = [(0.0, 1.2 * z, 3.0 * z) for z in range(6)]  # 21.8 degrees
UNEVEN = [(0.0, 0.0, float(z)) for z in (0, 2, 4, 10, 12)]


def write_slices(folder: Path, positions: Sequence[tuple[float, float, float]] = EVEN, **elements: Any) -> Path:
    """Writes one file a position (LPS, mm) of pixels of 0.8 x 0.7 mm; elements are set on each, None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, position in enumerate(positions):
        dataset: Any = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        uid = made_uid("acquired", str(index))
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(uid)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = made_uid("study"), made_uid("series")
        dataset.FrameOfReferenceUID, dataset.Modality = made_uid("frame"), "CT"
        dataset.PatientName, dataset.PatientID, dataset.PatientSex = "Doe^Jane", "p1", "F"
        dataset.Columns, dataset.Rows = SHAPE
        dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.8], 2
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = list(position), [1, 0, 0, 0, 1, 0]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
        dataset.PixelData = np.zeros(SHAPE[::-1], dtype=np.int16).tobytes()
        with quiet_pydicom():
            for name, value in elements.items():
                dataset.pop(name, None)
                if value is not None:
                    setattr(dataset, name, value)
            dataset.save_as(folder / f"{index:03d}.dcm", enforce_file_format=True)
    return folder


def drawn(shape: tuple[int, ...]) -> IntArray:
    """A ball, and a ring with an island of one voxel in its hole, in the values of `LABELS`."""
    i, j, k = np.indices(shape)
    labels = np.zeros(shape, dtype=np.uint8)
    radius = np.hypot(i - shape[0] * 0.65, j - shape[1] * 0.5)
    labels[(radius < 9) & (radius >= 4) & (k > 0)] = 7
    labels[(i - 8) ** 2 + (j - 9) ** 2 + 4 * (k - 2) ** 2 < 25] = 2
    labels[round(shape[0] * 0.65), round(shape[1] * 0.5), 2] = 7
    return labels


def predicted(source: DicomSource) -> Prediction:
    """What `drawn` draws on the slices, as a prediction on the grid of the volume."""
    acquisition = source.acquisition
    labels = acquisition.to_grid(drawn((*acquisition.shape, acquisition.slices)))
    return Prediction(labels, acquisition.geometry, LABELS)


def empty(geometry: Geometry) -> Prediction:
    return Prediction(np.zeros(geometry.shape, dtype=np.uint8), geometry, LABELS)


def faults(path: Path) -> list[str]:
    """The lines of dciodvfy that begin with Error."""
    result = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    lines = (result.stdout + result.stderr).splitlines()
    assert any(line in ("Segmentation", "RTStructureSet") for line in lines), lines  # it knew what it looked at
    return [line for line in lines if line.startswith("Error")]
