"""Structure sets as masks: what was drawn comes back voxel by voxel, and what would have to be guessed is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian
from scipy.spatial.transform import Rotation

from medseg.errors import DicomError, FileReadError, LabelError, MedsegError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.io import dicom, nifti
from medseg.io.dicom_rtstruct import Contoured, is_structure_set, read_rtstruct, read_structure_set, tie
from medseg.io.dicom_rtstruct_references import hashed
from medseg.io.roi_names import RoiRules
from medseg.shapes import BoolArray, FloatArray
from tests.support.rtstruct_writer import (
    Outline,
    WrittenSeries,
    in_patient,
    made_uid,
    structure_set,
    write_ct,
    write_rtstruct,
)

GRID = Geometry((40, 32, 10), np.array([[-0.9, 0, 0, 20], [0, -1.1, 0, 30], [0, 0, 3.0, -50], [0, 0, 0, 1]]))
CT = WrittenSeries(GRID)
ANY_UID = re.compile(r"\d+(\.\d+){4,}")


def rules(**settings: Any) -> RoiRules:
    labels = {"liver": {"value": 1, "match": "liver.*"}, "tumour": {"value": 2, "match": "gtv.*"}}
    return RoiRules.model_validate({"labels": labels, **settings})


def ball(x: float, y: float, z: float, radius: float, geometry: Geometry = GRID) -> BoolArray:
    """Voxels within a radius in pixels; slices count three pixels each."""
    i, j, k = np.indices(geometry.shape)
    return (i - x) ** 2 + (j - y) ** 2 + (3 * (k - z)) ** 2 < radius**2


def square(x0: float, y0: float, x1: float, y1: float) -> FloatArray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def outline(pixels: FloatArray, index: float, *, kind: str = "CLOSED_PLANAR", image: bool = True) -> Outline:
    uid = made_uid(CT.name, "image", str(round(index))) if image else ""
    return kind, in_patient(pixels, index, GRID), uid


BOX = [outline(square(5.5, 5.5, 15.5, 12.5), index) for index in (3, 4, 5)]


def read(
    path: Path, dataset: Dataset | dict[str, Sequence[Outline]], *, series: WrittenSeries = CT, **options: Any
) -> Contoured:
    """Saves a structure set (or one made of the outlines) and reads it on its CT."""
    dataset = structure_set(CT, dataset) if isinstance(dataset, dict) else dataset
    dataset.save_as(path / "rs.dcm", enforce_file_format=True)
    fill = options.pop("fill_slices", False)
    return read_rtstruct(
        path / "rs.dcm", series, series.acquisition, rules(**options), fill_slices=fill, where="case c1"
    )


# ---- what was drawn comes back


def test_masks_written_as_contours_come_back_voxel_by_voxel(tmp_path: Path) -> None:
    shell = ball(20, 15, 5, 12) & ~ball(18, 15, 5, 6) | ball(18, 15, 5, 2.5)
    tumour = ball(30, 8, 4, 7) & (np.random.default_rng(0).random(GRID.shape) > 0.3)
    write_rtstruct(tmp_path / "rs.dcm", CT, {"Liver": shell, "GTV 1": tumour}, label="AB")

    contoured = read_rtstruct(tmp_path / "rs.dcm", CT, CT.acquisition, rules())

    assert np.array_equal(contoured.masks["liver"], shell)
    assert np.array_equal(contoured.masks["tumour"], tumour)
    assert contoured.label == "AB" and contoured.notes == () and contoured.filled == {}


def test_a_hospitals_files_go_through_list_series_to_masks(tmp_path: Path) -> None:
    hu = np.random.default_rng(0).integers(-1000, 400, GRID.shape).astype(np.float32)
    written = write_ct(tmp_path / "ct", Volume(hu, GRID))
    write_rtstruct(tmp_path / "ct" / "rs.dcm", written, {"liver": ball(20, 15, 5, 12)})

    (series,) = dicom.list_series(tmp_path / "ct")
    volume = dicom.read_volume_of(series)
    assert volume.acquisition is not None
    contoured = read_rtstruct(tmp_path / "ct" / "rs.dcm", series, volume.acquisition, rules())

    assert np.array_equal(volume.hu, hu) and volume.geometry.differences(GRID) == []
    assert np.array_equal(contoured.masks["liver"], ball(20, 15, 5, 12)) and contoured.notes == ()


@pytest.mark.parametrize("seed", range(4))
def test_oblique_and_mirrored_grids_come_back_too(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=seed).as_matrix() @ np.diag([0.8, 0.7, 2.5]) * (-1) ** seed
    affine[:3, 3] = random.uniform(-300, 300, 3)
    series = WrittenSeries(Geometry((30, 24, 6), affine))
    mask = ball(14, 12, 3, 8, series.geometry)
    write_rtstruct(tmp_path / "rs.dcm", series, {"liver": mask})

    assert np.array_equal(read_rtstruct(tmp_path / "rs.dcm", series, series.acquisition, rules()).masks["liver"], mask)


def test_on_tilted_slices_contours_lie_in_the_tilted_planes_and_move_to_the_upright_grid(tmp_path: Path) -> None:
    affine = GRID.affine.copy()
    affine[1, 2] = 3 * 1.1  # every slice is shifted by three pixel rows against the one below
    tilted = WrittenSeries(Geometry(GRID.shape, affine))
    upright = Geometry(
        (40, 62, 10), GRID.affine @ np.array([[1, 0, 0, 0], [0, 1, 0, -27], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    )
    acquisition = Acquisition(GRID.shape[:2], tilted.acquisition.affines, upright)
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[10:15, 20:24] = True
    write_rtstruct(tmp_path / "rs.dcm", tilted, {"liver": mask})

    moved = read_rtstruct(tmp_path / "rs.dcm", tilted, acquisition, rules()).masks["liver"]

    assert moved.shape == upright.shape and np.array_equal(acquisition.to_slices(moved), mask)
    assert [int(np.flatnonzero(moved[12, :, z])[0]) for z in range(10)] == [20 + 27 - 3 * z for z in range(10)]


def test_the_affine_between_patient_and_voxels_is_dicoms(tmp_path: Path) -> None:
    corners = np.array([[-20, -30, -41], [-18, -30, -41], [-18, -27, -41], [-20, -27, -41.0]])  # LPS: voxel 0, 0 of 3
    read_mask = read(tmp_path, {"liver": [("CLOSED_PLANAR", corners, "")]}).masks["liver"]

    assert np.argwhere(read_mask).tolist() == [[i, j, 3] for i in range(3) for j in range(3)]  # 2 / 0.9, 3 / 1.1 mm


def test_nested_contours_are_holes_and_islands_and_a_keyhole_is_a_hole(tmp_path: Path) -> None:
    nested = [outline(square(a, a, 30 - a, 30 - a), 4) for a in (2.5, 6.5, 10.5)]
    outer, inner = square(2.5, 2.5, 27.5, 27.5), square(6.5, 6.5, 23.5, 23.5)
    keyhole = [outline(np.concatenate([outer, outer[:1], inner[:1], inner[::-1], outer[:1]]), 4)]

    masks = read(tmp_path, {"liver": nested, "gtv": keyhole}).masks

    assert masks["liver"].sum() == 25**2 - 17**2 + 9**2
    assert masks["tumour"].sum() == 25**2 - 17**2


def test_contours_without_image_references_lie_where_their_points_are(tmp_path: Path) -> None:
    mask = read(tmp_path, {"liver": [outline(square(5.5, 5.5, 9.5, 9.5), 7, image=False)]}).masks["liver"]

    assert np.flatnonzero(mask.any(axis=(0, 1))).tolist() == [7]


# ---- contours that are no closed outlines on a slice


def test_points_and_open_contours_are_refused_by_name_unless_ignored(tmp_path: Path) -> None:
    marker = [outline(np.array([[5.0, 5.0]]), 3, kind="POINT")]

    with pytest.raises(DicomError, match=r"enclose nothing; expected CLOSED_PLANAR, got 'gtv iso' \(POINT\).*ignore:"):
        read(tmp_path, {"liver": BOX, "gtv iso": marker})
    assert list(read(tmp_path, {"liver": BOX, "iso": marker}, ignore=["iso"]).masks) == ["liver"]


@pytest.mark.filterwarnings("ignore:The value length")
@pytest.mark.parametrize("kind", ["CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR"])  # the second is one letter too long
def test_xor_contours_combine_by_xor_even_where_they_overlap(tmp_path: Path, kind: str) -> None:
    two = [outline(square(2.5, 2.5, 12.5, 12.5), 4, kind=kind), outline(square(8.5, 2.5, 20.5, 12.5), 4, kind=kind)]

    assert read(tmp_path, {"liver": two}).masks["liver"].sum() == 100 + 120 - 2 * 40
    with pytest.raises(DicomError, match="combined by XOR and others; got 'liver'"):
        read(tmp_path, {"liver": [*two, BOX[0]]})


@pytest.mark.parametrize(("height", "off"), [(4.5, "1.5"), (3.8, "0.6"), (10, "3"), (-2, "6")])
def test_a_contour_between_or_beyond_the_slices_is_refused_with_its_distance(
    tmp_path: Path, height: float, off: str
) -> None:
    stray = outline(square(5.5, 5.5, 15.5, 12.5), height, image=False)

    with pytest.raises(
        DicomError, match=rf"1 of 4 contours on no slice of series_\w+; .*at most 0.3 mm.*up to {off} mm"
    ):
        read(tmp_path, {"liver": [*BOX, stray]})


def test_a_contour_within_a_tenth_of_the_way_to_the_next_slice_is_on_its_slice(tmp_path: Path) -> None:
    near = [outline(square(5.5, 5.5, 15.5, 12.5), 4.09)]

    assert np.flatnonzero(read(tmp_path, {"liver": near}).masks["liver"].any(axis=(0, 1))).tolist() == [4]


def test_a_contour_that_is_not_planar_is_on_no_slice(tmp_path: Path) -> None:
    kind, points, uid = BOX[0]
    bent = points + np.array([0, 0, 1.0]) * np.arange(4)[:, None]

    with pytest.raises(DicomError, match=r"on no slice .* up to 3 mm"):
        read(tmp_path, {"liver": [(kind, bent, uid)]})


def test_a_contour_beside_the_image_is_refused_and_one_that_reaches_beyond_is_cut_and_said(tmp_path: Path) -> None:
    with pytest.raises(DicomError, match=r"beside the image of series_\w+; .* 9.45 mm away on slice 5 of 10"):
        read(tmp_path, {"liver": [outline(square(50, 5.5, 60, 12.5), 4)]})
    contoured = read(tmp_path, {"liver": [outline(square(35.5, 5.5, 60, 12.5), 4)]})
    assert contoured.masks["liver"].sum() == 4 * 7
    assert contoured.notes == ("ROI 'liver': reaches beyond the image and is cut off there on slice 5 of 10",)


def test_a_contour_around_no_voxel_centre_is_said(tmp_path: Path) -> None:
    contoured = read(tmp_path, {"liver": [outline(square(5.1, 5.1, 5.9, 5.9), 4)]})

    assert not contoured.masks["liver"].any()
    assert contoured.notes == ("ROI 'liver': encloses no voxel's centre on slice 5 of 10",)


def test_a_contour_written_twice_counts_once_and_is_said(tmp_path: Path) -> None:
    contoured = read(tmp_path, {"liver": [*BOX, BOX[1]]})

    assert contoured.masks["liver"].sum() == 3 * 70
    assert contoured.notes == ("ROI 'liver': 1 contour written twice counted once on slice 5 of 10",)


def test_contours_that_overlap_in_part_are_refused_until_a_rule_says_what_that_means(tmp_path: Path) -> None:
    two = {"liver": [outline(square(2.5, 2.5, 12.5, 12.5), 4), outline(square(8.5, 2.5, 20.5, 12.5), 4)]}

    with pytest.raises(DicomError, match=r"overlap in part.*got 40 voxels in common on slice 5 of 10.*--crossing un"):
        read(tmp_path, two)
    assert read(tmp_path, two, crossing="union").masks["liver"].sum() == 180
    assert read(tmp_path, two, crossing="xor").masks["liver"].sum() == 140


# ---- slices left out


def test_slices_left_out_of_a_region_are_refused_with_their_places(tmp_path: Path) -> None:
    mask = ball(20, 15, 5, 13)
    mask[:, :, [3, 5, 6]] = False
    write_rtstruct(tmp_path / "rs.dcm", CT, {"liver": mask, "gtv": ball(30, 8, 4, 7)})

    with pytest.raises(DicomError, match=r"3 slices left out .* got 'liver': slices 4, 6-7 of 10\. .*--fill-slices"):
        read_rtstruct(tmp_path / "rs.dcm", CT, CT.acquisition, rules())


def test_filled_slices_are_close_to_the_truth_and_marked(tmp_path: Path) -> None:
    whole = ball(20, 15, 5, 13)
    drawn = whole.copy()
    drawn[:, :, 2:8:2] = False
    write_rtstruct(tmp_path / "rs.dcm", CT, {"liver": drawn})

    contoured = read_rtstruct(tmp_path / "rs.dcm", CT, CT.acquisition, rules(), fill_slices=True)

    filled = contoured.masks["liver"]
    assert contoured.filled == {"liver": (2, 4, 6)} and "interpolated on slices 3, 5, 7 of 10" in contoured.notes[0]
    assert np.array_equal(filled[:, :, 1::2], whole[:, :, 1::2])
    assert 2 * (filled & whole).sum() / (filled.sum() + whole.sum()) > 0.95


def test_two_parts_above_one_another_are_no_gap_where_the_rules_say_so(tmp_path: Path) -> None:
    parts = {"liver": [outline(square(5.5, 5.5, 15.5, 12.5), index) for index in (1, 2, 7, 8)]}
    keep = {"liver": {"value": 1, "match": "liver", "gaps": "keep"}}

    with pytest.raises(DicomError, match=r"4 slices left out .*gaps: keep"):
        read(tmp_path, parts)
    assert read(tmp_path, parts, labels=keep).masks["liver"].any(axis=(0, 1)).sum() == 4


def test_filled_slices_of_an_uneven_series_are_marked_on_the_volumes_planes(tmp_path: Path) -> None:
    affines = np.delete(CT.acquisition.affines, [4], axis=0)  # slice 5 of 10 was never acquired
    acquisition = Acquisition(GRID.shape[:2], affines, GRID, invented=(4,))
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[5:15, 5:12, 2:9] = True
    mask[:, :, [4, 7]] = False
    write_rtstruct(tmp_path / "rs.dcm", CT, {"liver": mask})
    series = replace(CT, geometry=GRID)

    contoured = read_rtstruct(tmp_path / "rs.dcm", series, acquisition, rules(trust="frame"), fill_slices=True)

    assert contoured.filled == {"liver": (7,)}  # plane 4 takes its labels from a slice that was drawn
    assert contoured.masks["liver"].any(axis=(0, 1)).tolist() == [False] * 2 + [True] * 7 + [False]


# ---- the CT that it belongs to


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


# ---- names, raters, regions without contours


def test_names_that_do_not_fit_are_refused_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"no rule knows 'Lt Kidney' \(TG-263: Kidney_L\).*Add to rois.yaml"):
        read(tmp_path, {"liver": BOX, "Lt Kidney": BOX})


def test_several_regions_of_one_label_are_united_when_the_rule_says_so(tmp_path: Path) -> None:
    labels = {"tumour": {"value": 1, "match": "gtv.*", "several": "unite"}}
    regions = {"gtv1": BOX, "gtv2": [outline(square(10.5, 5.5, 20.5, 12.5), 4)]}

    assert read(tmp_path, regions, labels=labels).masks["tumour"].sum() == 3 * 70 + 5 * 7


def test_a_region_without_contours_is_missing_or_absent_as_the_rules_say(tmp_path: Path) -> None:
    missing = read(tmp_path, {"liver": BOX, "gtv": []})
    absent = read(tmp_path, {"liver": BOX, "gtv": []}, empty="absent")

    assert list(missing.masks) == ["liver"] and missing.notes == ("ROI 'gtv': not outlined, taken as missing",)
    assert not absent.masks["tumour"].any() and absent.notes == ("ROI 'gtv': not outlined, taken as absent",)


def test_suffixes_tell_several_raters(tmp_path: Path) -> None:
    regions = {"liver_AB": BOX, "liver_CD": BOX[:2]}

    contoured = read(tmp_path, regions, rater={"from": "suffix", "pattern": "_([A-Z]+)"})

    assert {rater: int(one.masks["liver"].sum()) for rater, one in contoured.readings.items()} == {"AB": 210, "CD": 140}
    with pytest.raises(LabelError, match="several raters; got AB, CD"):
        _ = contoured.masks


def test_the_structure_sets_label_tells_the_rater(tmp_path: Path) -> None:
    dataset = structure_set(CT, {"liver": BOX}, label="Reader B, final")

    contoured = read(tmp_path, dataset, rater={"from": "label", "pattern": r"reader (\w)"})

    assert list(contoured.readings) == ["B"]


def test_a_structure_set_of_ignored_regions_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no region has a label; got 1 regions, all of them ignored"):
        read(tmp_path, {"couch": BOX}, ignore=["couch"])


# ---- files that are no structure sets, or damaged


def saved(path: Path, dataset: Dataset) -> Path:
    dataset.save_as(path / "rs.dcm", enforce_file_format=True)
    return path / "rs.dcm"


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
    monkeypatch.setattr("medseg.io.dicom_rtstruct_file.MAX_FILE_BYTES", 2000)
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


# ---- real data


@pytest.mark.parametrize("case", ["STS_008", "STS_019", "STS_025"])
def test_the_sarcomas_contours_are_their_masks(shared_data: Path, case: str) -> None:
    folder = shared_data / "sts_dicom" / case
    values, geometry = nifti.read_label_values(shared_data / "sts_nifti" / case / "CT_mask.nii.gz")

    series, acquisition = dicom.read_series_grid(folder / "image")
    contoured = read_rtstruct(folder / "mask" / "RS.dcm", series, acquisition, rules())

    assert acquisition.geometry.differences(geometry) == []
    assert np.array_equal(contoured.masks["tumour"], values > 0)


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
