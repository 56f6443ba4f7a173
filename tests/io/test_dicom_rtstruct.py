"""Structure sets as masks: what was drawn comes back voxel by voxel, slices left out are seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medseg.errors import DicomError, LabelError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.io import dicom, nifti
from medseg.io.dicom_rtstruct import read_rtstruct
from tests.support.rtstruct_writer import (
    WrittenSeries,
    structure_set,
    write_ct,
    write_rtstruct,
)
from tests.support.structure_sets import BOX, CT, GRID, ball, outline, read, rules, square

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


# ---- real data


@pytest.mark.parametrize("case", ["STS_008", "STS_019", "STS_025"])
def test_the_sarcomas_contours_are_their_masks(shared_data: Path, case: str) -> None:
    folder = shared_data / "sts_dicom" / case
    values, geometry = nifti.read_label_values(shared_data / "sts_nifti" / case / "CT_mask.nii.gz")

    series, acquisition = dicom.read_series_grid(folder / "image")
    contoured = read_rtstruct(folder / "mask" / "RS.dcm", series, acquisition, rules())

    assert acquisition.geometry.differences(geometry) == []
    assert np.array_equal(contoured.masks["tumour"], values > 0)
