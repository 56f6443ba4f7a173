"""Which images are one series, what it is called, and what is passed over."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.errors import DicomError
from medseg.io import dicom

WriteSeries = Callable[..., Path]
PLACES = [0, 1, 2]
AXIAL, CORONAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1]


def pixels(count: int) -> list[np.ndarray]:
    """Images that differ from one another."""
    return [np.full((4, 6), 100 + index, np.int16) for index in range(count)]


def shapes(folder: Path) -> list[tuple[int, ...]]:
    return [series.shape for series in dicom.list_series(folder)]


# ---- what one UID may hold


@pytest.mark.parametrize(
    "elements",
    [
        {"SeriesInstanceUID": ["2.25.7"] * 4 + ["2.25.9"] * 3},
        {"ConvolutionKernel": ["STANDARD"] * 4 + ["BONE"] * 3},
        {"ImageType": [["ORIGINAL", "PRIMARY", "AXIAL"]] * 4 + [["DERIVED", "SECONDARY", "AXIAL"]] * 3},
        {"AcquisitionNumber": [1] * 4 + [2] * 3},
        {"TemporalPositionIdentifier": [1] * 4 + [2] * 3},
        {"SliceThickness": [1] * 4 + [5] * 3},
        {"KVP": [80] * 4 + [140] * 3},
        {"PatientID": ["a"] * 4 + ["b"] * 3},
        {"FrameOfReferenceUID": ["2.25.8"] * 4 + ["2.25.11"] * 3},
        {"PixelSpacing": [[0.5, 0.8]] * 4 + [[0.5, 0.9]] * 3},
        {"SeriesInstanceUID": "", "FrameOfReferenceUID": ["2.25.8"] * 4 + ["2.25.11"] * 3},
        {"SeriesInstanceUID": "", "ConvolutionKernel": ["STANDARD"] * 4 + ["BONE"] * 3},
    ],
)
def test_stacks_that_share_their_places_are_told_apart(write_series: WriteSeries, elements: dict[str, Any]) -> None:
    folder = write_series([0, 1, 2, 3, *PLACES], pixels=pixels(7), **elements)

    assert shapes(folder) == [(6, 4, 4), (6, 4, 3)]
    with pytest.raises(DicomError, match="mixed: the folder holds 2 series"):
        dicom.read_series(folder)


def test_directions_and_sizes_are_told_apart(write_series: WriteSeries, tmp_path: Path) -> None:
    write_series(PLACES, name="tree/axial")
    folder = write_series([0, 0, 0, 0], name="tree/coronal", ImageOrientationPatient=[CORONAL] * 4,
                          ImagePositionPatient=[[0, y, 0] for y in range(4)])  # fmt: skip
    write_series([7, 8, 9, 10, 11], name="tree/large", pixels=np.zeros((8, 8), np.int16))

    assert shapes(folder.parent) == [(8, 8, 5), (6, 4, 4), (6, 4, 3)]


@pytest.mark.parametrize(
    "elements",
    [
        {"AcquisitionNumber": list(range(6))},
        {"AcquisitionNumber": [1, 1, 1, 2, 2, 2]},
        {"ImageType": [["ORIGINAL", "PRIMARY", "AXIAL"], ["ORIGINAL", "PRIMARY", "AXIAL", "ADD"]] * 3},
        {"SliceThickness": [1, 2] * 3},
        {"KVP": [120, 121] * 3},
        {"ConvolutionKernel": ["STANDARD", "", "standard", "STANDARD", "STANDARD", "STANDARD"]},
        {"ImageOrientationPatient": [[1, 0, 0, 0, 1, 0], [0.9999999, 0.0002, 0, -0.0002, 0.9999999, 0]] * 3},
        {"Modality": ["CT", "", "CT", "", "CT", "CT"]},
    ],
)
def test_tags_that_vary_within_one_stack_do_not_split_it(write_series: WriteSeries, elements: dict[str, Any]) -> None:
    assert shapes(write_series([0, 1, 2, 3, 4, 5], **elements)) == [(6, 4, 6)]


def test_an_acquisition_number_a_slice_does_not_take_a_copy_for_a_stack(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2, 2], AcquisitionNumber=[1, 2, 3, 4])

    series = dicom.choose_series(folder)

    assert dicom.read_volume_of(series).hu.shape == (6, 4, 3)
    assert series.notes == ["1 repeated image of one place dropped"]


def test_copies_of_a_whole_series_are_one_series(write_series: WriteSeries) -> None:
    write_series(PLACES, name="tree/a", ImageType=[["ORIGINAL", "PRIMARY", "AXIAL"]] * 3)
    folder = write_series(PLACES, name="tree/b", ImageType=[["ORIGINAL", "PRIMARY", "AXIAL"]] * 3).parent

    assert dicom.read_series(folder).hu.shape == (6, 4, 3)


def test_without_any_uid_folders_keep_series_apart(write_series: WriteSeries) -> None:
    write_series(PLACES, name="tree/a", SeriesInstanceUID=None, FrameOfReferenceUID="")
    folder = write_series(PLACES, name="tree/b", SeriesInstanceUID=None, FrameOfReferenceUID="")

    assert shapes(folder.parent) == [(6, 4, 3), (6, 4, 3)]
    assert dicom.read_series(folder).hu.shape == (6, 4, 3)


# ---- choosing


def test_a_series_is_chosen_by_its_name(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2, 3, *PLACES], pixels=pixels(7), SeriesInstanceUID=["2.25.7"] * 4 + ["2.25.9"] * 3)

    assert dicom.read_series(folder, series="series_0b20d139").hu.shape == (6, 4, 4)
    series, acquisition = dicom.read_series_grid(folder, series="series_68dc04ea")
    assert (series.uid, acquisition.geometry.shape) == ("2.25.9", (6, 4, 3))
    with pytest.raises(DicomError, match="no series series_00000000; expected one of those that are here"):
        dicom.read_series(folder, series="series_00000000")


def test_stacks_of_one_uid_are_numbered(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2, 3, *PLACES], pixels=pixels(7), ConvolutionKernel=["B"] * 4 + ["A"] * 3)

    assert [series.id for series in dicom.list_series(folder)] == ["series_0b20d139_1", "series_0b20d139_2"]
    assert dicom.read_series(folder, series="series_0b20d139_2").hu.shape == (6, 4, 3)
    with pytest.raises(DicomError, match="several stacks of series series_0b20d139"):
        dicom.read_series(folder, series="series_0b20d139")


def test_the_list_tells_series_apart_without_patient_data(write_series: WriteSeries) -> None:
    elements = {"BodyPartExamined": "CHEST", "ConvolutionKernel": ["Br40d"] * 4 + ["Dr. John Smith"] * 3,
                "ImageType": [["ORIGINAL", "PRIMARY", "AXIAL", "DOE JANE"]] * 7, "SliceThickness": 1.5,
                "SeriesDescription": "Jane Doe 1.1.1970"}  # fmt: skip
    folder = write_series([0, 1, 2, 3, *PLACES], pixels=pixels(7), **elements)

    with pytest.raises(DicomError) as caught:
        dicom.read_series(folder)

    message = str(caught.value)
    assert "series_0b20d139_1 (6 x 4 x 4, 0.8 x 0.5 x 1 mm, kernel Br40d, axial chest original primary, 1.5" in message
    assert "--series series_0b20d139_1" in message
    assert not re.search("doe|jane|john|smith|1970|2\\.25", message, re.IGNORECASE)


# ---- facts


def test_instances_lie_at_their_slice_whatever_their_number(write_series: WriteSeries) -> None:
    series = dicom.choose_series(write_series([5, -10, 0, -5], InstanceNumber=[1, 2, 3, 4]))

    assert series.instance_uids == {"2.25.100.0": 3, "2.25.100.1": 0, "2.25.100.2": 2, "2.25.100.3": 1}
    assert series.frames["2.25.100.0", 1] == 3
    assert series.spacing_mm == (0.8, 0.5, 5) and series.heights_mm == (-10, -5, 0, 5)


def test_both_copies_of_a_slice_lie_at_its_place(write_series: WriteSeries) -> None:
    assert dicom.choose_series(write_series([0, 1, 1, 2])).instance_uids["2.25.100.3"] == 2


@pytest.mark.parametrize(
    ("cosines", "word"),
    [(AXIAL, "axial"), (CORONAL, "coronal"), ([0, 1, 0, 0, 0, -1], "sagittal"), ([1, 0, 0, 0, 0.8, 0.6], "oblique")],
)
def test_the_plane_is_named(write_series: WriteSeries, cosines: list[float], word: str) -> None:
    folder = write_series(PLACES, ImageOrientationPatient=[cosines] * 3)

    assert dicom.scan(folder).series[0].orientation == word


# ---- what is passed over, and modality


def test_what_is_left_out_is_counted_by_name(write_series: WriteSeries) -> None:
    folder = write_series(PLACES)
    write_series([40, 41], name="series/a", ImageType=[["ORIGINAL", "PRIMARY", "LOCALIZER"]] * 2)
    write_series([50], name="series/b", SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    write_series([60], name="series/c", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.67", Modality="SR", Rows=None)
    write_series([0, 1, 2], name="series/d", Modality="PT", SeriesInstanceUID="2.25.99")
    write_series([70], name="series/e", Modality="RTSTRUCT")
    write_series([71], name="series/f", pixels=np.zeros((4, 6), np.int16), SamplesPerPixel=3,
                 PhotometricInterpretation="RGB")  # fmt: skip
    (folder / "notes.txt").write_text("text")

    found = dicom.scan(folder)

    assert found.left_out == ("3 PT image, 2 localiser, 1 RTSTRUCT, 1 capture, 1 colour capture, 1 dose report, "
                              "1 not DICOM")  # fmt: skip
    assert dicom.read_series(folder).hu.shape == (6, 4, 3)


def test_what_bears_the_uid_of_a_series_but_is_no_image_of_it_is_noted(write_series: WriteSeries) -> None:
    folder = write_series(PLACES)
    write_series([3], name="series/end", SamplesPerPixel=3, PhotometricInterpretation="RGB")
    write_series([9], name="series/other", SeriesInstanceUID="2.25.99", SOPClassUID="1.2.840.10008.5.1.4.1.1.7")

    assert dicom.choose_series(folder).notes == ["1 colour capture of the same series left out"]


def test_the_refusal_of_several_series_names_what_was_passed_over(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2, 3, *PLACES], pixels=pixels(7), SeriesInstanceUID=["2.25.7"] * 4 + ["2.25.9"] * 3)
    write_series([40], name="series/scout", ImageType=[["ORIGINAL", "PRIMARY", "LOCALIZER"]])

    with pytest.raises(DicomError, match=r"Passed over: 1 localiser\.$"):
        dicom.read_series(folder)


@pytest.mark.parametrize("elements", [{"Modality": None}, {"Modality": ""},
                                      {"Modality": None, "SOPClassUID": None, "RescaleType": "HU"}])  # fmt: skip
def test_a_missing_modality_is_ct_where_class_or_rescale_type_say_so(
    write_series: WriteSeries, elements: dict[str, Any]
) -> None:
    assert dicom.read_series(write_series(PLACES, **elements)).hu.shape == (6, 4, 3)


def test_a_missing_modality_of_another_class_is_not_guessed(write_series: WriteSeries) -> None:
    mr = "1.2.840.10008.5.1.4.1.1.4"

    with pytest.raises(DicomError, match=r"not a CT series; expected modality CT, got none \(3 images\)"):
        dicom.read_series(write_series(PLACES, Modality=None, SOPClassUID=mr))


def test_modalities_mixed_in_one_series_are_refused(write_series: WriteSeries) -> None:
    with pytest.raises(
        DicomError, match=r"not a CT series; expected modality CT, got CT \(2 images\), MR \(1 images\)"
    ):
        dicom.read_series(write_series(PLACES, Modality=["CT", "CT", "MR"]))


@pytest.mark.parametrize(("elements", "reason"), [
    ({"PhotometricInterpretation": "MONOCHROME1"}, "MONOCHROME1 images; expected MONOCHROME2"),
    ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR images; expected MONOCHROME2"),
    ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "no image slices here; .* got 3 colour capture"),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "no image slices here; expected a CT series, got 3 capture"),
    ({"RescaleSlope": 0}, "RescaleSlope is 0"),
])  # fmt: skip
def test_images_without_hu_are_refused_by_name(
    write_series: WriteSeries, elements: dict[str, Any], reason: str
) -> None:
    with pytest.raises(DicomError, match=reason):
        dicom.read_series(write_series(PLACES, **elements))


# ---- larger real series


def test_a_tree_of_real_studies_lists_its_series(shared_data: Path) -> None:
    found = dicom.scan(shared_data / "sts_dicom")

    assert sorted(series.shape for series in found.series) == [(136, 134, 47), (141, 137, 51), (149, 138, 47)]
    assert found.left_out == "3 RTSTRUCT"


def test_the_tilted_head_is_one_series_though_its_image_type_changes(shared_data: Path) -> None:
    assert [series.shape for series in dicom.list_series(shared_data / "dicom" / "ge_tilt")] == [(512, 512, 28)]
