"""A seeded CT of a body for timing readers: DICOM slices in three transfer syntaxes, NIfTI, and arrays in memory.

The texture decides what a codec costs, so it is neither constant nor white noise: a body with lungs, spine and vessels
in air, under noise whose grain and size are those of a CT (14 HU in soft tissue, correlated over about a pixel).
JPEG-LS makes it 2.7 and gzip 2.0 times smaller; slices of LIDC-IDRI-0001 become 3.1 and 2.0 times smaller.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, JPEGLSLossless, RLELossless
from scipy.ndimage import gaussian_filter

from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.io.nifti import write_volume
from medseg.shapes import FloatArray, IntArray

SEED = 250
# No voxel of a 1.5 mm grid around the same centre lies halfway between two voxels, where either would be the nearest
SPACING_MM = (0.743, 0.743, 1.26)
NOISE_HU = 14.0
INTERCEPT = -1024
SYNTAXES = {"uncompressed": ExplicitVRLittleEndian, "jpeg_ls": JPEGLSLossless, "rle": RLELossless}
DISTINCT_RLE = 15


def ct_slices(slices: int, size: int = 512) -> Iterator[IntArray]:
    """HU (rows, columns) of one slice after the other, int16, air at -1000 and never below -1024."""
    rng = np.random.default_rng(SEED)
    grain = gaussian_filter(rng.standard_normal((2 * size, 2 * size)), 0.6)
    grain *= NOISE_HU / grain.std()
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    for index in range(slices):
        row, column = rng.integers(0, size, 2)  # another window of one field of noise: no two slices are alike
        noise = grain[row : row + size, column : column + size]
        still = _anatomy(x, y, index / slices)
        yield np.clip(np.rint(still + noise), -1024, 3071).astype(np.int16)


def _anatomy(x: FloatArray, y: FloatArray, height: float) -> FloatArray:
    """HU without noise at a height from 0 (abdomen) to 1 (chest)."""
    hu = np.full(x.shape, -1000.0)
    width = 0.8 + 0.05 * np.sin(6 * height)
    hu[(x / width) ** 2 + (y / 0.6) ** 2 < 1] = -100  # fat
    hu[(x / (width - 0.06)) ** 2 + (y / 0.54) ** 2 < 1] = 45
    lung = 0.28 * max(height - 0.35, 0.0) ** 0.5
    for side in (-1, 1):
        hu[((x - side * 0.36) ** 2 + (y / 1.3) ** 2) < lung**2] = -850
        hu[((x - side * 0.3) ** 2 + (y - 0.1) ** 2) < (0.12 * (height < 0.4)) ** 2] = 120  # kidneys
    hu[x**2 + ((y - 0.38) / 1.1) ** 2 < 0.1**2] = 400  # vertebra
    hu[(x + 0.05) ** 2 + (y - 0.2) ** 2 < 0.035**2] = 180  # aorta
    return hu


def write_dicom(folder: Path, syntax: str, slices: int, size: int = 512) -> Path:
    """A folder of one CT series in one of `SYNTAXES`, its files in an order that is not that of the body.

    RLE repeats its first slices: pydicom takes 80 ms to encode one, and decoding costs the same the second time.
    """
    folder.mkdir(parents=True)
    planes = list(ct_slices(min(slices, DISTINCT_RLE) if syntax == "rle" else slices, size))
    encoded = [_encoded((hu - INTERCEPT).astype("<u2"), syntax) for hu in planes]
    for index in range(slices):
        name = f"{(index * 97) % slices:04d}_{index:04d}.dcm"
        _dataset(index, encoded[index % len(encoded)], size, syntax).save_as(folder / name, enforce_file_format=True)
    return folder


def write_nifti(path: Path, volume: Volume) -> Path:
    """The volume as int16 `.nii.gz`, which SimpleITK and nibabel write for it as well."""
    write_volume(path, volume)
    return path


def ct_volume(slices: int, size: int = 512) -> Volume:
    """The same body in memory (float32, X fastest, as the readers make it)."""
    hu = np.empty((size, size, slices), dtype=np.float32, order="F")
    for index, plane in enumerate(ct_slices(slices, size)):
        hu[:, :, index] = plane.T
    affine = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
    affine[:3, 3] = 190.0, 190.0, -100.0
    return Volume(hu, Geometry((size, size, slices), affine))


def tissue_labels(volume: Volume) -> IntArray:
    """Seven labels (uint8) by HU: ragged borders such as a threshold makes, the hard case for a nearest neighbour."""
    return np.asfortranarray(np.digitize(volume.hu, (-900, -500, -50, 20, 80, 250)).astype(np.uint8))


def _encoded(stored: IntArray, syntax: str) -> bytes:
    if syntax == "uncompressed":
        return stored.tobytes()
    if syntax == "jpeg_ls":
        return encapsulate([bytes(imagecodecs.jpegls_encode(stored))])
    rows, columns = stored.shape
    return encapsulate([
        RLELosslessEncoder.encode(stored.tobytes(), rows=rows, columns=columns, samples_per_pixel=1, bits_allocated=16,
                                  bits_stored=12, pixel_representation=0, photometric_interpretation="MONOCHROME2",
                                  number_of_frames=1)
    ])  # fmt: skip


def _dataset(index: int, pixels: bytes, size: int, syntax: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = SYNTAXES[syntax]
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.1001.{index + 1}")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "2.25.1", "2.25.2", "2.25.3"
    for name, value in SCANNER.items():
        setattr(dataset, name, value)
    x, y, z = SPACING_MM
    dataset.InstanceNumber = index + 1
    dataset.PixelSpacing, dataset.SliceThickness = [y, x], z
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [-190, -190, -100 + z * index], [1, 0, 0, 0, 1, 0]
    dataset.SliceLocation = -100 + z * index
    dataset.Rows = dataset.Columns = size
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, INTERCEPT, "HU"
    dataset.PixelData = pixels
    dataset["PixelData"].is_undefined_length = syntax != "uncompressed"
    return dataset


SCANNER = {  # as many elements as a scanner writes, since every reader has to walk over them
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "StudyDate": "20000101", "SeriesDate": "20000101",
    "AcquisitionDate": "20000101", "ContentDate": "20000101", "StudyTime": "120000", "SeriesTime": "120000",
    "AcquisitionTime": "120000", "ContentTime": "120000", "AccessionNumber": "1", "Modality": "CT",
    "Manufacturer": "medseg", "ManufacturerModelName": "synthetic", "StudyDescription": "speed", "StationName": "none",
    "SeriesDescription": "synthetic body", "PatientName": "Nobody", "PatientID": "0", "PatientBirthDate": "",
    "PatientSex": "O", "PatientPosition": "HFS", "BodyPartExamined": "CHEST", "ScanOptions": "HELICAL MODE",
    "KVP": 120, "DataCollectionDiameter": 500, "ReconstructionDiameter": 380, "DistanceSourceToDetector": 949,
    "DistanceSourceToPatient": 541, "GantryDetectorTilt": 0, "TableHeight": 150, "RotationDirection": "CW",
    "ExposureTime": 600, "XRayTubeCurrent": 300, "Exposure": 180, "FilterType": "BODY FILTER", "GeneratorPower": 36000,
    "FocalSpots": 1.2, "ConvolutionKernel": "STANDARD", "SpiralPitchFactor": 0.984375, "TableSpeed": 39.37,
    "SoftwareVersions": "1", "StudyID": "1", "SeriesNumber": 2, "AcquisitionNumber": 1, "WindowCenter": 40,
    "WindowWidth": 400, "PositionReferenceIndicator": "SN",
}  # fmt: skip
