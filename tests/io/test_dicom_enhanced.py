"""Enhanced CT: every frame by its own functional groups, and multi-frame files that have none."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import UID, EnhancedCTImageStorage, ExplicitVRLittleEndian, JPEGLSLossless

from medseg.errors import DicomError
from medseg.io import dicom
from medseg.io.dicom_headers import Image
from tests.support.stored_values import stored_values

SERIES = Path(__file__).parents[1] / "data" / "dicom"
FRAMES = np.arange(5 * 4 * 6, dtype=np.int16).reshape(5, 4, 6)
WriteSeries = Callable[..., Path]
WriteEnhanced = Callable[..., Path]


def group(**macros: dict[str, Any]) -> Dataset:
    """Functional groups: each macro a sequence of one item."""
    out = Dataset()
    for name, elements in macros.items():
        item = Dataset()
        for key, value in elements.items():
            setattr(item, key, value)
        setattr(out, name, [item])
    return out


def frame(height: float, **content: Any) -> Dataset:
    return group(PlanePositionSequence={"ImagePositionPatient": [-10, -20, height]}, FrameContentSequence=content)


SHARED = {
    "PixelMeasuresSequence": {"PixelSpacing": [0.5, 0.8], "SliceThickness": 2},
    "PlaneOrientationSequence": {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
    "PixelValueTransformationSequence": {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"},
    "CTImageFrameTypeSequence": {"FrameType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]},
    "CTReconstructionSequence": {"ConvolutionKernel": "B30f"},
}


@pytest.fixture
def write_enhanced(tmp_path: Path) -> WriteEnhanced:
    def write(frames: Sequence[Dataset], *, shared: Dataset | None = None, pixels: np.ndarray = FRAMES) -> Path:
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.500")
        dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID, dataset.Modality = "2.25.7", "2.25.8", "CT"
        dataset.NumberOfFrames, dataset.Rows, dataset.Columns = pixels.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
        dataset.SharedFunctionalGroupsSequence = [group(**SHARED) if shared is None else shared]
        dataset.PerFrameFunctionalGroupsSequence = list(frames)
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
        return tmp_path / "enhanced.dcm"

    return write


def rewritten(path: Path, change: Callable[[Dataset], None]) -> Path:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


def test_frames_are_ordered_by_their_own_positions(write_enhanced: WriteEnhanced) -> None:
    volume = dicom.read_series(write_enhanced([frame(height) for height in (4, 0, 2, 8, 6)]))

    assert volume.geometry.shape == (6, 4, 5) and volume.geometry.spacing_mm == pytest.approx((0.8, 0.5, 2))
    assert np.array_equal(volume.hu.T, FRAMES[[1, 2, 0, 4, 3]] - 1024)


def test_a_frame_has_its_own_rescale(write_enhanced: WriteEnhanced) -> None:
    frames = [frame(height) for height in range(5)]
    frames[3].PixelValueTransformationSequence = group(
        PixelValueTransformationSequence={"RescaleSlope": 2, "RescaleIntercept": 10, "RescaleType": "HU"}
    ).PixelValueTransformationSequence

    hu = dicom.read_series(write_enhanced(frames)).hu

    assert np.array_equal(hu[:, :, 3].T, FRAMES[3] * 2 + 10) and np.array_equal(hu[:, :, 2].T, FRAMES[2] - 1024)


def test_a_multi_frame_file_equals_the_single_slices_that_it_was_made_of() -> None:
    multi, single = dicom.read_series(SERIES / "multiframe"), dicom.read_series(SERIES / "small")

    assert np.array_equal(multi.hu, single.hu)
    assert multi.geometry.differences(single.geometry) == []


def test_frames_of_a_zipped_file_are_read_too(write_enhanced: WriteEnhanced, tmp_path: Path) -> None:
    path = write_enhanced([frame(height) for height in range(5)])
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.write(path, "enhanced")

    assert np.array_equal(dicom.read_series(tmp_path / "study.zip").hu, dicom.read_series(path).hu)


def test_stacks_and_temporal_positions_are_series_of_their_own(write_enhanced: WriteEnhanced) -> None:
    frames = [frame(height, StackID="1", TemporalPositionIndex=phase) for phase in (1, 2) for height in range(3)]
    path = write_enhanced(frames, pixels=np.arange(6 * 24, dtype=np.int16).reshape(6, 4, 6))

    with pytest.raises(DicomError, match="holds 2 series"):
        dicom.read_series(path)
    assert dicom.read_series(path, series="series_0b20d139_2").hu[0, 0].tolist() == [-952, -928, -904]


def test_frames_are_found_by_instance_and_number(write_enhanced: WriteEnhanced) -> None:
    series = dicom.choose_series(write_enhanced([frame(height) for height in (4, 0, 2, 8, 6)]))

    assert [series.frames["2.25.500", number] for number in range(1, 6)] == [2, 0, 1, 4, 3]
    assert series.instance_uids == {"2.25.500": 0}
    assert (series.kernel, series.thickness_mm) == ("B30f", 2)


# ---- packing


def images(path: Path) -> list[np.ndarray]:
    found: list[Image] = [image for series in dicom.list_series(path) for image in series.images]
    return [stored_values(image) for image in sorted(found, key=lambda image: image.frame)]


@pytest.mark.parametrize(  # frames of an extended offset table have one fragment each (PS3.5 A.4)
    ("table", "pieces"), [("basic", 1), ("basic", 3), ("none", 1), ("none", 3), ("extended", 1)]
)
def test_compressed_frames_are_found_with_and_without_offset_tables(
    write_enhanced: WriteEnhanced, table: str, pieces: int
) -> None:
    streams = [bytes(imagecodecs.jpegls_encode(image.view(np.uint16))) for image in FRAMES]

    def pack(dataset: Dataset) -> None:
        if table == "extended":
            content, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulate_extended(streams)
        else:
            content = encapsulate(streams, fragments_per_frame=pieces, has_bot=table == "basic")
        dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
        dataset.PixelData = content
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True

    path = rewritten(write_enhanced([frame(height) for height in range(5)]), pack)

    assert all(np.array_equal(got, image) for got, image in zip(images(path), FRAMES, strict=True))


def test_a_frame_too_few_is_refused(write_enhanced: WriteEnhanced) -> None:
    def pack(dataset: Dataset) -> None:
        streams = [bytes(imagecodecs.jpegls_encode(image.view(np.uint16))) for image in FRAMES[:4]]
        dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
        dataset.PixelData = encapsulate(streams, has_bot=False)
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True

    with pytest.raises(DicomError, match="slice 1 of 5: the pixels cannot be read"):
        dicom.read_series(rewritten(write_enhanced([frame(height) for height in range(5)]), pack))


# ---- refused


def test_a_file_of_frames_without_geometry_is_refused_by_name(write_series: WriteSeries) -> None:
    folder = write_series([0], pixels=FRAMES[0], NumberOfFrames="1")
    rewritten(folder / "slice0", lambda dataset: setattr(dataset, "NumberOfFrames", "2"))

    with pytest.raises(DicomError, match=r"multi-frame DICOM without a position for each frame.* got 2 frames"):
        dicom.read_series(folder)


def test_fewer_groups_than_frames_are_refused(write_enhanced: WriteEnhanced) -> None:
    with pytest.raises(
        DicomError, match=r"enhanced\.dcm: multi-frame DICOM without.*expected 5 functional groups, got 4"
    ):
        dicom.read_series(write_enhanced([frame(height) for height in range(4)]))


@pytest.mark.parametrize(
    ("macro", "elements", "reason"),
    [
        ("PixelMeasuresSequence", {}, "PixelSpacing is missing; got 5 of 5 slices"),
        ("PlaneOrientationSequence", {}, "ImageOrientationPatient is missing"),
        ("PixelValueTransformationSequence", {}, "RescaleSlope is missing"),
        ("PixelValueTransformationSequence", {"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "Z_EFF"},
         "the values are no HU; expected RescaleType HU, got Z_EFF"),
    ],
)  # fmt: skip
def test_what_a_functional_group_lacks_is_named(
    write_enhanced: WriteEnhanced, macro: str, elements: dict[str, Any], reason: str
) -> None:
    shared = group(**{**SHARED, macro: elements})

    with pytest.raises(DicomError, match=reason):
        dicom.read_series(write_enhanced([frame(height) for height in range(5)], shared=shared))


# ---- larger real series


def test_every_lossless_encoding_of_real_frames_gives_the_same_values(shared_data: Path) -> None:
    folder = shared_data / "dicom" / "compressed" / "ct_dicomparser" / "encapsulated" / "multi-frame"
    plain = images(folder / "CT0012.explicit_little_endian.dcm")
    lossless = [path for path in sorted(folder.glob("CT0012.*")) if not any(n in path.name for n in (".81.", ".51."))]

    assert len(lossless) == 8 and plain[0].std() > 50
    for path in lossless:
        assert all(np.array_equal(one, other) for one, other in zip(plain, images(path), strict=True)), path.name


def test_near_lossless_frames_are_off_by_no_more_than_was_allowed(shared_data: Path) -> None:
    folder = shared_data / "dicom" / "compressed" / "ct_dicomparser" / "encapsulated" / "multi-frame"
    plain = images(folder / "CT0012.explicit_little_endian.dcm")
    near = images(folder / "CT0012.fragmented_no_bot_jpeg_ls.81.dcm")

    assert 0 < max(np.abs(a.astype(int) - b).max() for a, b in zip(plain, near, strict=True)) <= 2
