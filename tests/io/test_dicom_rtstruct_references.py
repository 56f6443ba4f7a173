"""Structure sets of another CT are refused by hash, and accepted where the rules say what suffices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from medseg.errors import DicomError
from medseg.imaging.geometry import Geometry
from medseg.io.dicom_rtstruct import Contoured, read_rtstruct, read_structure_set, tie
from medseg.io.dicom_rtstruct_references import hashed
from tests.support.rtstruct_writer import (
    WrittenSeries,
    made_uid,
    structure_set,
    write_rtstruct,
)
from tests.support.structure_sets import ANY_UID, BOX, CT, GRID, ball, outline, read, rules, square


def test_a_structure_set_of_another_series_is_refused_by_hash(tmp_path: Path) -> None:
    other = replace(CT, name="other", id="series_other")
    shared_frame = structure_set(CT, {"liver": BOX})
    shared_frame.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = other.frame_of_reference_uid

    with pytest.raises(DicomError, match=r"not drawn on this series; expected a reference to series_") as caught:
        read(tmp_path, shared_frame, series=other)
    assert hashed("series", CT.uid) in str(caught.value) and not ANY_UID.search(str(caught.value))
    accepted = read(tmp_path, shared_frame, series=other, trust="frame")
    assert accepted.masks["liver"].sum() == 210 and accepted.notes == ("placed by positions alone (trust: frame)",)


def test_another_frame_of_reference_is_refused_and_accepted_by_its_images(tmp_path: Path) -> None:
    moved = structure_set(CT, {"liver": BOX})
    moved.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = made_uid("elsewhere")

    with pytest.raises(DicomError, match=r"another frame of reference than series_.*frame_.*--trust images"):
        read(tmp_path, moved)
    assert read(tmp_path, moved, trust="images").masks["liver"].sum() == 210


def test_missing_frames_of_reference_are_not_equal(tmp_path: Path) -> None:
    bare = structure_set(CT, {"liver": BOX})
    bare.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = ""

    with pytest.raises(DicomError, match=r"another frame of reference .*got no frame"):
        read(tmp_path, bare)


def test_a_contour_on_an_image_that_does_not_exist_is_refused_by_hash(tmp_path: Path) -> None:
    kind, points, _ = BOX[0]
    broken = {"liver": [*BOX[1:], (kind, points, made_uid("nowhere"))]}

    with pytest.raises(
        DicomError, match=rf"images that are not in series_.*got {hashed('image', made_uid('nowhere'))}"
    ):
        read(tmp_path, broken)
    assert read(tmp_path, broken, trust="frame").masks["liver"].sum() == 210


def test_when_all_images_have_other_uids_series_and_frame_suffice_and_it_is_said(tmp_path: Path) -> None:
    renamed = {"liver": [(kind, points, made_uid("renamed", uid)) for kind, points, uid in BOX]}

    contoured = read(tmp_path, renamed)

    assert contoured.masks["liver"].sum() == 210
    assert "names none of the images of series_0123abcd" in contoured.notes[0]
    with pytest.raises(DicomError, match="images that are not in"):
        read(tmp_path, renamed, trust="images")


def test_a_contour_on_another_slice_than_its_image_is_refused_in_mm(tmp_path: Path) -> None:
    kind, points, _ = BOX[0]
    swapped = {"liver": [*BOX[1:], (kind, points, made_uid(CT.name, "image", "7"))]}

    with pytest.raises(DicomError, match=r"another slice than .*expected slice 8 of 10, got slice 4, 12 mm away"):
        read(tmp_path, swapped)
    assert read(tmp_path, swapped, trust="frame").masks["liver"].sum() == 210


def test_an_image_that_is_all_slices_says_nothing_of_one(tmp_path: Path) -> None:
    class MultiFrame(WrittenSeries):
        instance_uids: Mapping[str, int] = {"2.25.1": 0}

    on_frames = {"liver": [(kind, points, "2.25.1") for kind, points, _ in BOX]}

    assert read(tmp_path, on_frames, series=MultiFrame(GRID)).masks["liver"].any(axis=(0, 1)).sum() == 3


def test_positions_alone_suffice_when_the_rules_say_so(tmp_path: Path) -> None:
    other = replace(CT, name="other")

    assert read(tmp_path, {"liver": BOX}, series=other, trust="positions").masks["liver"].sum() == 210


def test_trusting_images_wants_an_image_for_each_contour(tmp_path: Path) -> None:
    bare = {"liver": [*BOX, outline(square(5.5, 5.5, 15.5, 12.5), 6, image=False)]}

    with pytest.raises(DicomError, match="an image for each contour, got 1 of 4 without"):
        read(tmp_path, bare, trust="images")


def test_the_tie_between_structure_set_and_series_is_found_for_choosing_the_ct(tmp_path: Path) -> None:
    write_rtstruct(tmp_path / "rs.dcm", CT, {"liver": ball(20, 15, 5, 13)})
    structures = read_structure_set(tmp_path / "rs.dcm")

    class Stack(WrittenSeries):
        instance_uids = {"2.25.1": 0}  # noqa: RUF012

    assert tie(structures, CT) == "images"
    assert tie(structures, Stack(GRID)) == "series"
    assert tie(structures, replace(CT, name="other")) == "none"


def test_real_broken_references_are_named(shared_data: Path) -> None:
    folder = shared_data / "dicom" / "rtstruct_rtutils" / "mock_data"
    headers = [pydicom.dcmread(folder / f"ct_{number}.dcm", stop_before_pixels=True) for number in (1, 2)]
    affine = np.diag([-0.488281, -0.488281, 5.0, 1.0])
    affine[:3, 3] = (125, 125, 60)  # ImagePositionPatient (-125, -125, 60)

    class Real(WrittenSeries):
        uid, frame_of_reference_uid = str(headers[0].SeriesInstanceUID), str(headers[0].FrameOfReferenceUID)
        instance_uids: Mapping[str, int] = {str(header.SOPInstanceUID): k for k, header in enumerate(headers)}

    def attempt(name: str, **settings: Any) -> Contoured:
        series = Real(Geometry((512, 512, 2), affine))
        wanted = rules(labels={"roi": {"value": 1, "match": "roi.*", "several": "unite"}}, **settings)
        return read_rtstruct(folder / name, series, series.acquisition, wanted)

    with pytest.raises(DicomError, match="'ROI-1' was drawn on images that are not in series_0123abcd"):
        attempt("invalid_reference_rt.dcm")
    with pytest.raises(DicomError, match=r"1 of 3 contours on no slice .* up to 5 mm"):
        attempt("invalid_reference_rt.dcm", trust="frame")
    with pytest.raises(DicomError, match="a reference to series_0123abcd, got a reference to no series"):
        attempt("non_existent_reference_rt.dcm")
    with pytest.raises(DicomError, match="'ROI-1' lies in another frame of reference"):
        attempt("rt.dcm")
    assert attempt("rt.dcm", trust="images").masks["roi"].any(axis=(0, 1)).tolist() == [True, False]
