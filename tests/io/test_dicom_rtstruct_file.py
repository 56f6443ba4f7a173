"""Files that are no structure sets, or damaged, end in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medseg.errors import DicomError, FileReadError, MedsegError
from medseg.io.dicom_rtstruct import is_structure_set, read_rtstruct, read_structure_set
from tests.support.rtstruct_writer import (
    structure_set,
)
from tests.support.structure_sets import ANY_UID, BOX, CT, GRID, outline, read, rules, saved, square


def test_what_a_structure_set_says_is_read_in_dicoms_frame(tmp_path: Path) -> None:
    structures = read_structure_set(saved(tmp_path, structure_set(CT, {"Liver ": BOX, "gtv": []}, label="AB")))

    assert (structures.label, structures.series_uids) == ("AB", {CT.uid})
    assert structures.frame_of_reference_uids == {CT.frame_of_reference_uid}
    assert [(roi.number, roi.name, len(roi.contours)) for roi in structures.rois] == [(1, "Liver", 3), (2, "gtv", 0)]
    assert structures.rois[0].contours[0].points_mm == pytest.approx(BOX[0][1], abs=1e-4)
    assert structures.instance_uids == {uid for _, _, uid in BOX}


def test_other_files_are_named_for_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Doe^Jane")

    with pytest.raises(FileReadError, match="no such file"):
        read_structure_set(tmp_path / "absent.dcm")
    with pytest.raises(FileReadError, match="a folder, not a file"):
        read_structure_set(tmp_path)
    with pytest.raises(FileReadError, match=r"case c1: not a DICOM file"):
        read_structure_set(tmp_path / "notes.txt", where="case c1")
    ct = Path(__file__).parents[1] / "data" / "dicom" / "small" / "IMG0001.dcm"
    with pytest.raises(DicomError, match="no DICOM structure set; expected an RTSTRUCT file, got CT"):
        read_structure_set(ct)
    assert not is_structure_set(ct) and not is_structure_set(tmp_path / "notes.txt")
    assert is_structure_set(saved(tmp_path, structure_set(CT, {"liver": BOX})))


def contour_of(dataset: Dataset) -> Dataset:
    return dataset.ROIContourSequence[0].ContourSequence[0]


@pytest.mark.parametrize(
    ("coordinates", "reason"),
    [
        (["1"] * 11, "wrong count of coordinates; expected 3 for each of 4 points, got 11"),
        (["1"] * 9, "wrong count of coordinates; expected 3 for each of 4 points, got 9"),
        (["1"] * 11 + ["1e5"], "no positions in a scanner; expected numbers of at most 10000 mm"),
        ([], "contour without points"),
    ],
)
def test_coordinates_that_are_no_outline_are_refused(tmp_path: Path, coordinates: list[str], reason: str) -> None:
    dataset = structure_set(CT, {"liver": BOX})
    contour_of(dataset).ContourData = coordinates

    with pytest.raises(DicomError, match=f"ROI 'liver', contour 1 of 3: .*{reason}"):
        read_structure_set(saved(tmp_path, dataset))


@pytest.mark.parametrize(("text", "reason"), [(b"nan ", "no positions"), (b"1,25", "no numbers"), (b"inf ", "no pos")])
def test_texts_that_are_no_finite_numbers_are_refused(tmp_path: Path, text: bytes, reason: str) -> None:
    dataset = structure_set(CT, {"liver": BOX})
    contour_of(dataset).ContourData = ["7777"] * 12
    path = saved(tmp_path, dataset)
    path.write_bytes(path.read_bytes().replace(b"7777", text))

    with pytest.raises(DicomError, match=reason):
        read_structure_set(path)


def test_a_structure_set_without_contours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DicomError, match="holds no contour; got 2 ROIs, none of them outlined"):
        read_structure_set(saved(tmp_path, structure_set(CT, {"liver": [], "gtv": []})))


def test_numbers_that_name_two_regions_or_none_are_refused(tmp_path: Path) -> None:
    double, unknown = structure_set(CT, {"liver": BOX, "gtv": BOX}), structure_set(CT, {"liver": BOX})
    double.StructureSetROISequence[1].ROINumber = 1
    unknown.ROIContourSequence[0].ReferencedROINumber = 7

    with pytest.raises(DicomError, match="a ROI number is used twice; got 1"):
        read_structure_set(saved(tmp_path, double))
    with pytest.raises(DicomError, match="does not list; got ROI number 7"):
        read_structure_set(saved(tmp_path, unknown))


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("dicom_rtstruct_file.MAX_CONTOURS", "more contours than any structure set holds; expected at most 2, got 3"),
        ("dicom_rtstruct_file.MAX_POINTS", "more points than any contour has; expected at most 2, got 4"),
        ("dicom_rtstruct_slices.MAX_CONTOURS_A_SLICE", "more contours on one slice .* expected at most 2, got 3"),
    ],
)
def test_absurd_sizes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, reason: str) -> None:
    monkeypatch.setattr(f"medseg.io.{limit}", 2)

    with pytest.raises(DicomError, match=reason):
        read(tmp_path, {"liver": [outline(square(5.5, 5.5, 15.5, 12.5), 4)] * 3})


def test_a_tangle_of_contours_is_refused(tmp_path: Path) -> None:
    tangle = np.random.default_rng(0).uniform(0, 30, (200, 12, 2))

    with pytest.raises(DicomError, match="ROI 'liver': contours on one slice cross one another too often"):
        read(tmp_path, {"liver": [outline(pixels, 4) for pixels in tangle]})


def test_a_deflated_structure_set_is_read_and_a_bomb_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = structure_set(CT, {"liver": BOX})
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = saved(tmp_path, dataset)

    assert len(read_structure_set(path).rois[0].contours) == 3
    monkeypatch.setattr("medseg.io.dicom_object.LARGEST_BYTES", 2000)
    with pytest.raises(FileReadError, match="larger than any structure set"):
        read_structure_set(path)


def test_a_file_without_preamble_is_read(tmp_path: Path) -> None:
    dataset = structure_set(CT, {"liver": BOX})
    del dataset.file_meta
    dataset.save_as(tmp_path / "rs.dcm", implicit_vr=True, little_endian=True, enforce_file_format=False)

    assert len(read_structure_set(tmp_path / "rs.dcm").rois[0].contours) == 3


def test_a_file_cut_off_anywhere_is_an_error_and_never_fewer_contours(tmp_path: Path) -> None:
    path = saved(tmp_path, structure_set(CT, {"liver": BOX, "gtv": BOX}))
    content = path.read_bytes()

    for length in range(0, len(content) - 1, 37):
        path.write_bytes(content[:length])
        with pytest.raises(MedsegError):
            read_structure_set(path)


@pytest.mark.parametrize("seed", range(60))
def test_any_damage_is_one_readable_error_or_a_structure_set(tmp_path: Path, seed: int) -> None:
    path = saved(tmp_path, structure_set(CT, {"liver": BOX, "gtv": BOX[:1]}))
    random = np.random.default_rng(seed)
    content = bytearray(path.read_bytes())
    for place in random.integers(132, len(content), 6):
        content[place] = random.integers(0, 256)
    path.write_bytes(bytes(content))

    try:
        contoured = read_rtstruct(path, CT, CT.acquisition, rules(unmatched="ignore"), where="case c1")
    except MedsegError as error:
        assert "\n" not in str(error) and "Doe" not in str(error) and not ANY_UID.search(str(error))
    else:
        assert all(mask.shape == GRID.shape for mask in contoured.masks.values())
