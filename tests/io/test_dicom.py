"""DICOM series: order, HU, frame of reference, and a sentence for everything that is no even, upright CT volume."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML

from medseg.errors import DicomError, FileReadError, MedsegError
from medseg.io import dicom, nifti

SERIES = Path(__file__).parents[1] / "data" / "dicom"
WriteSeries = Callable[..., Path]
UID = re.compile(r"\d+(\.\d+){4,}")


# ---- order and place


def test_slices_are_ordered_by_position_not_by_name_or_instance_number(write_series: WriteSeries) -> None:
    folder = write_series([5, -10, 0, -5], InstanceNumber=[1, 2, 3, 4])

    volume = dicom.read_series(folder)

    assert volume.hu[0, 0].tolist() == [-34, -29, -24, -19]  # stored 1000 + height, intercept -1024
    assert volume.geometry.spacing_mm[2] == 5


def test_lps_is_turned_into_ras_and_columns_are_the_first_axis(write_series: WriteSeries) -> None:
    geometry = dicom.read_series(write_series([0, 3, 6])).geometry

    assert geometry.shape == (6, 4, 3)  # 4 pixel rows, 6 pixel columns
    assert geometry.orientation == "LPS"
    assert geometry.origin_mm == (10, 20, 0)  # ImagePositionPatient (-10, -20, 0) in LPS
    assert geometry.spacing_mm == pytest.approx((0.8, 0.5, 3), rel=1e-7)  # PixelSpacing is row spacing, column spacing


def test_spacing_comes_from_positions_and_not_from_slice_thickness(write_series: WriteSeries) -> None:
    folder = write_series([0, 2, 4], SliceThickness=3, SpacingBetweenSlices=3)

    assert dicom.read_series(folder).geometry.spacing_mm[2] == 2


def test_feet_first_series_run_along_the_normal(write_series: WriteSeries) -> None:
    geometry = dicom.read_series(write_series([0, 3, 6], ImageOrientationPatient=[[1, 0, 0, 0, -1, 0]] * 3)).geometry

    assert geometry.orientation == "LAI"
    assert geometry.origin_mm[2] == 6


def test_the_affine_is_one_that_a_nifti_header_can_hold(write_series: WriteSeries, tmp_path: Path) -> None:
    volume = dicom.read_series(write_series([0.1, 3.4, 6.7], PixelSpacing=[[0.7421875, 0.123456789]] * 3))
    nifti.write_volume(tmp_path / "a.nii.gz", volume)

    assert np.array_equal(nifti.read_geometry(tmp_path / "a.nii.gz").affine, volume.geometry.affine)


def test_an_oblique_series_keeps_every_voxel_in_its_place() -> None:
    volume = dicom.read_series(SERIES / "oblique")
    headers = [pydicom.dcmread(path) for path in sorted((SERIES / "oblique").iterdir())]

    for header in headers:
        position = np.array(header.ImagePositionPatient, dtype=float) * [-1, -1, 1]
        index = volume.geometry.index(position)
        assert index == pytest.approx([0, 0, round(index[2])], abs=1e-3)
        stored = header.pixel_array * float(header.RescaleSlope)
        assert np.allclose(volume.hu[:, :, round(index[2])], stored.T)


# ---- HU


def test_each_slice_has_its_own_slope_and_intercept(write_series: WriteSeries) -> None:
    pixels = np.full((4, 6), 100, np.int16)
    folder = write_series([0, 1, 2], pixels=pixels, RescaleSlope=[1, 2, 3], RescaleIntercept=[-1024, -1000, 0])

    assert dicom.read_series(folder).hu[0, 0].tolist() == [-924, -800, 300]


@pytest.mark.parametrize(("signed", "written"), [(1, -2000), (1, 63536), (0, 63536)])
def test_padding_becomes_air_however_its_sign_is_written(write_series: WriteSeries, signed: int, written: int) -> None:
    pixels = np.full((4, 6), 1024, np.int16)
    pixels[0, 0] = -2000
    folder = write_series([0, 1, 2], pixels=pixels, PixelRepresentation=signed)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.add_new("PixelPaddingValue", "SS" if written < 0 else "US", written)
        dataset.save_as(path)

    hu = dicom.read_series(folder).hu

    assert (hu[0, 0] == -1024).all() and (hu[1:] == 0).all()


def test_a_range_of_padding_becomes_air(write_series: WriteSeries) -> None:
    pixels = np.array([[-2000, -1999, -1998, 0]] * 3, np.int16)
    folder = write_series([0, 1, 2], pixels=pixels, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1999)

    assert dicom.read_series(folder).hu[:, 0, 0].tolist() == [-1024, -1024, -3022, -1024]


def test_real_slices_equal_the_nifti_that_other_software_made_of_them() -> None:
    volume, twin = dicom.read_series(SERIES / "lidc"), nifti.read_volume(SERIES / "lidc.nii.gz")

    assert np.array_equal(volume.hu, twin.hu)
    assert volume.geometry.differences(twin.geometry) == []
    assert volume.hu.max() > 100 and volume.hu.min() < -900  # lung and vessel, not a block of air


def test_lossless_codecs_decode_to_the_same_voxels(as_ct: Callable[[Path], Path]) -> None:
    volumes = [dicom.read_series(as_ct(SERIES / "codecs" / name)) for name in ("rle", "jpeg_ls", "jpeg_2000")]

    assert volumes[0].hu.std() > 10
    assert all(np.array_equal(volumes[0].hu, volume.hu) for volume in volumes[1:])
    assert {volume.geometry.orientation for volume in volumes} == {"PIR"}  # sagittal: (0,1,0) x (0,0,-1) points right


# ---- what else lies in the folder


def test_localisers_reports_and_other_files_are_passed_over(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2])
    write_series([40], name="scout", ImageType=[["ORIGINAL", "PRIMARY", "LOCALIZER"]])
    write_series([50], name="capture", SOPClassUID="1.2.840.10008.5.1.4.1.1.7", ImagePositionPatient=None)
    write_series([60], name="plan", Modality="RTSTRUCT")
    for name in ("scout", "capture", "plan"):
        (folder.parent / name / "slice0").rename(folder / name)
    (folder / "README.txt").write_text("not DICOM")
    (folder / "below").mkdir()

    assert dicom.read_series(folder).geometry.shape == (6, 4, 3)


def test_a_folder_with_nothing_but_objects_lists_them(write_series: WriteSeries) -> None:
    folder = write_series([0, 1], Modality=["RTSTRUCT", "SR"])

    with pytest.raises(DicomError, match="no image slices here; expected a CT series, got 1 RTSTRUCT, 1 SR"):
        dicom.read_series(folder)


def test_files_without_preamble_are_read(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2])
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        del dataset.file_meta, dataset.preamble
        dataset.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
        assert path.read_bytes()[128:132] != b"DICM"

    assert dicom.is_series(folder)
    assert dicom.read_series(folder).hu[0, 0].tolist() == [-24, -23, -22]


def test_is_series_wants_a_dicom_file_somewhere(write_series: WriteSeries, tmp_path: Path) -> None:
    folder = write_series([0], name="deep/er")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no DICOM")

    assert all(dicom.is_series(path) for path in (folder, folder.parent, folder / "slice0"))
    assert not any(dicom.is_series(tmp_path / name) for name in ("empty", "notes.txt", "absent"))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileReadError, match=r"^ct: no such folder"):
        dicom.read_series(tmp_path / "ct")


# ---- names


def test_a_series_is_named_by_a_hash_of_its_uid(write_series: WriteSeries) -> None:
    assert dicom.series_id(write_series([0, 1, 2])) == "series_0b20d139"  # printf 2.25.7 | sha256sum


def test_series_without_uid_have_names_of_their_own(write_series: WriteSeries) -> None:
    first = dicom.series_id(write_series([0, 1, 2], SeriesInstanceUID=""))
    second = dicom.series_id(write_series([0, 1, 3], SeriesInstanceUID="", name="other"))

    assert first != second
    assert dicom.series_id(SERIES / "empty_uid").startswith("series_")


# ---- series that are refused, each with a reason

REFUSED = {
    "tilted": ["tilted by 14.0 degrees"],
    "uneven": ["unevenly spaced", "5 mm (2 times)", "10 mm (once)", "after slice 3 of 4"],
    "tilted_uneven": ["tilted by 15.5 degrees", "0.778 mm (2 times)", "1.56 mm (once)"],
    "ge_tilt": ["tilted by 18.5 degrees", "1.14 mm (once)", "4.22 mm (13 times)", "7.38 mm (13 times)"],
    "one_place": ["not a volume", "all 4 images"],
    "too_few": ["modality CT", "MR (2 images)", "too few slices"],
    "mixed_orientation": ["MR (4 images)", "mixed orientations", "2 different directions"],
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_real_series_that_is_no_volume_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(DicomError) as caught:
        dicom.read_series(SERIES / name, tilt="refuse")

    message = str(caught.value)
    assert all(words in message for words in REFUSED[name]), message
    assert "\n" not in message and not UID.search(message)


@pytest.mark.parametrize(("name", "reason"), [("too_few", "too few slices .* at least 3, got 2"),
                                              ("mixed_orientation", "mixed orientations")])  # fmt: skip
def test_the_same_faults_in_ct_are_refused_for_themselves(
    as_ct: Callable[[Path], Path], name: str, reason: str
) -> None:
    with pytest.raises(DicomError, match=reason) as caught:
        dicom.read_series(as_ct(SERIES / name))
    assert "not a CT" not in str(caught.value)


def test_a_missing_slice_is_seen_as_a_gap(write_series: WriteSeries) -> None:
    folder = write_series([0, 2.5, 5, 10, 12.5])

    with pytest.raises(DicomError, match=r"gaps of 2.5 mm \(3 times\), 5 mm \(once\), the 5 mm one after slice 3 of 5"):
        dicom.read_series(folder)


def test_positions_rounded_to_a_tenth_are_even(write_series: WriteSeries) -> None:
    heights = [round(0.625 * index, 1) for index in range(20)]

    assert dicom.read_series(write_series(heights)).geometry.spacing_mm[2] == pytest.approx(0.625, abs=0.005)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"SeriesInstanceUID": ["2.25.7", "2.25.7", "2.25.9"]}, "mixed: the folder holds 2 series.*of 2, 1 images"),
        ({"Modality": "PT"}, r"expected modality CT, got PT \(3 images\)$"),
        ({"PixelSpacing": [[0.5, 0.8], [0.5, 0.8], [0.5, 0.9]]}, "different pixel spacing; got 2 of 0.5 x 0.8 mm, 1"),
        ({"pixels": [np.zeros((4, 6), "<i2")] * 2 + [np.zeros((4, 7), "<i2")]}, "different size.*2 of 4 x 6 pixels"),
        ({"FrameOfReferenceUID": ["2.25.8", "2.25.8", "2.25.10"]}, "2 frames of reference"),
        ({"ImageOrientationPatient": [[1, 0, 0, 0.0871557, 0.9961947, 0]] * 3}, "not perpendicular.*got 85 degrees"),
        ({"ImageOrientationPatient": [[1, 0, 0, 0, 0, 0]] * 3}, "the position of a slice cannot be read"),
        ({"NumberOfFrames": "2"}, "multi-frame DICOM"),
        ({"RescaleType": "MGML"}, "the values are no HU; expected RescaleType HU, got MGML"),
        ({"ImagePositionPatient": [None, [0, 0, 1], [0, 0, 2]]}, "ImagePositionPatient is missing; got 1 of 3 slices"),
        ({"RescaleIntercept": None}, "RescaleIntercept is missing; got 3 of 3 slices"),
        ({"PixelSpacing": ""}, "PixelSpacing is missing"),
    ],
)
def test_a_fault_in_the_headers_is_named(write_series: WriteSeries, elements: dict, reason: str) -> None:
    with pytest.raises(DicomError, match=reason) as caught:
        dicom.read_series(write_series([0, 1, 2], **elements))
    assert "Doe" not in str(caught.value) and not UID.search(str(caught.value))


def test_the_same_image_twice_counts_once(write_series: WriteSeries) -> None:
    assert dicom.read_series(write_series([0, 1, 2, 2])).geometry.shape[2] == 3


def test_different_images_at_one_position_are_refused_with_numbers(write_series: WriteSeries) -> None:
    pixels = [np.full((4, 6), value, np.int16) for value in (1, 2, 3, 4)]

    with pytest.raises(DicomError, match="got 4 images at 3 places, 1 of them crowded"):
        dicom.read_series(write_series([0, 1, 2, 2], pixels=pixels))


def test_truncated_pixels_name_the_slice_and_not_the_file(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2])
    content = (folder / "slice1").read_bytes()
    (folder / "slice1").write_bytes(content[:-20])

    with pytest.raises(DicomError, match=r"series_0b20d139, slice 2 of 3: the pixels cannot be read"):
        dicom.read_series(folder)


def test_a_syntax_without_decoder_says_what_to_do(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2])
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = MPEG2MPML
        dataset.PixelData = encapsulate([dataset.PixelData])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)

    with pytest.raises(DicomError, match=r"no decoder for MPEG2 .*decompress the series first"):
        dicom.read_series(folder)


@pytest.mark.parametrize("seed", range(12))
def test_any_damage_is_one_readable_error_or_a_finite_volume(write_series: WriteSeries, seed: int) -> None:
    folder = write_series([0, 1, 2])
    random = np.random.default_rng(seed)
    content = bytearray((folder / "slice1").read_bytes())
    for place in random.integers(132, len(content), 12):
        content[place] = random.integers(0, 256)
    (folder / "slice1").write_bytes(bytes(content))

    try:
        volume = dicom.read_series(folder)
    except MedsegError as error:
        assert "\n" not in str(error) and "Doe" not in str(error)
    else:
        assert np.isfinite(volume.hu).all()


# ---- larger real series


@pytest.mark.parametrize("case", ["STS_008", "STS_019", "STS_025"])
def test_sarcoma_series_equal_their_nifti(shared_data: Path, case: str) -> None:
    volume = dicom.read_series(shared_data / "sts_dicom" / case / "image")
    twin = nifti.read_volume(shared_data / "sts_nifti" / case / "CT_image.nii.gz")

    assert np.array_equal(volume.hu, twin.hu)
    assert volume.geometry.differences(twin.geometry) == []


def test_the_lung_slab_equals_its_nifti(shared_data: Path) -> None:
    volume = dicom.read_series(shared_data / "lidc_0001" / "dicom")
    twin = nifti.read_volume(shared_data / "lidc_0001" / "nifti" / "ct.nii.gz")

    assert np.array_equal(volume.hu, twin.hu)
    assert volume.geometry.differences(twin.geometry) == []


def test_jpeg_2000_slices_lie_on_the_grid_of_the_labels_made_from_them(shared_data: Path) -> None:
    volume = dicom.read_series(shared_data / "totalseg" / "example_ct_dicom")
    labels = nifti.read_geometry(shared_data / "totalseg" / "example_seg_dicom.nii.gz")

    assert volume.geometry.spacing_mm[2] == 2
    assert volume.geometry.canonical().differences(labels.canonical()) == []
    assert volume.hu.min() == -1024 and 1000 < volume.hu.max() < 3072


def test_jpeg_ls_equals_its_uncompressed_twin_slice_by_slice(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "dicom" / "compressed" / "ct_dicomparser" / "encapsulated" / "single-frame"
    volumes = []
    for path in [*sorted(folder.glob("*no*_jpeg_ls*.dcm")), folder / "CT1_UNC.explicit_little_endian.dcm"]:
        series = tmp_path / path.name
        series.mkdir()
        for height in (0, 5, 10):
            dataset = pydicom.dcmread(path)
            dataset.ImagePositionPatient[2] = height
            dataset.save_as(series / str(height))
        volumes.append(dicom.read_series(series))

    assert len(volumes) > 2 and volumes[-1].hu.std() > 100
    assert all(np.abs(volume.hu - volumes[-1].hu).max() == 0 for volume in volumes)


def test_a_series_is_told_by_the_callers_words_and_its_own_name_once(write_series: Callable[..., Path]) -> None:
    uneven = dicom.choose_series(write_series([0, 1, 2, 5]))

    with pytest.raises(DicomError, match=rf"^{uneven.id}: the slices are unevenly"):
        dicom.grid_of(uneven, where=uneven.id)
    with pytest.raises(DicomError, match=rf"^case c1, {uneven.id}: the slices are unevenly"):
        dicom.grid_of(uneven, where="case c1")


def test_a_folder_is_not_named_where_the_caller_has_words_for_it(tmp_path: Path) -> None:
    with pytest.raises(DicomError, match=r"^case c1: no image slices"):
        dicom.list_series(tmp_path, where="case c1")
    with pytest.raises(DicomError, match=r"^case c1: no image slices"):
        dicom.choose_series(tmp_path, where="case c1")
