"""Which position of a NIfTI header counts, in which unit, and what is refused."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import FileReadError, GeometryError
from medseg.imaging.cosines import skew_deg
from medseg.imaging.geometry import Geometry
from medseg.io import nifti
from tests.support.nifti_files import oblique, save_nifti, tilted

ZEROS = np.zeros((4, 3, 2), np.int16)
QUARTER_TURN = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def affine(*diagonal: float) -> np.ndarray:
    return np.diag([*diagonal, 1.0])


# ---- sform and qform


def test_sform_counts_when_its_code_is_set(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", ZEROS, sform=affine(-1, -1, 3))

    assert nifti.read_geometry(path).orientation == "LPS"
    assert np.array_equal(nifti.read_volume(path).geometry.affine, affine(-1, -1, 3))


def test_qform_counts_when_the_sform_has_no_code(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", ZEROS, qform=oblique())

    assert np.array_equal(nifti.read_geometry(path).affine, nib.load(path).affine)  # type: ignore[attr-defined]


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5])
def test_any_code_above_zero_makes_a_form_count(tmp_path: Path, code: int) -> None:
    one = save_nifti(tmp_path / "a.nii", ZEROS, sform=affine(2, 2, 3), sform_code=code)
    other = save_nifti(tmp_path / "b.nii", ZEROS, qform=affine(2, 2, 3), qform_code=code)

    assert nifti.read_geometry(one).spacing_mm == nifti.read_geometry(other).spacing_mm == (2, 2, 3)


def test_a_form_without_a_code_cannot_contradict(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", ZEROS, sform=affine(1, 1, 3), qform=QUARTER_TURN, qform_code=0)

    assert np.array_equal(nifti.read_geometry(path).affine, affine(1, 1, 3))


def test_a_header_without_any_position_is_refused(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", ZEROS)

    with pytest.raises(GeometryError, match="does not say where the voxels lie"):
        nifti.read_volume(path)


def test_forms_that_contradict_are_refused_with_angle_and_distance(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", np.zeros((5, 5, 2), np.int16), sform=np.eye(4), qform=QUARTER_TURN)

    # the corner (4, 4) goes to (-4, 4): 8 mm away; the corner (4, 0) goes only sqrt(32) mm
    with pytest.raises(GeometryError, match=r"sform \(code 2\) and qform \(code 1\) contradict.*90 deg.*to 8 mm apart"):
        nifti.read_geometry(path)


@pytest.mark.parametrize(("shift_mm", "refused"), [(0.24, False), (0.26, True)])
def test_forms_may_differ_by_half_of_the_smallest_voxel_edge(tmp_path: Path, shift_mm: float, refused: bool) -> None:
    shifted = affine(0.5, 1, 3)
    shifted[0, 3] += shift_mm
    path = save_nifti(tmp_path / "a.nii.gz", ZEROS, sform=affine(0.5, 1, 3), qform=shifted)

    if refused:
        with pytest.raises(GeometryError, match=r"0 degrees and corners up to 0.26 mm apart"):
            nifti.read_geometry(path)
    else:
        assert nifti.read_geometry(path).origin_mm == (0, 0, 0)
        assert nifti.read_notes(path) == ("sform and qform put corners up to 0.24 mm apart: the sform counts",)


def test_pixdim_beside_an_sform_does_not_count_and_is_noted(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", ZEROS, sform=affine(1, 1, 3))

    assert nifti.read_geometry(path).spacing_mm == (1, 1, 3)
    assert nifti.read_notes(path) == ("pixdim says 1 x 1 x 1 mm and the sform 1 x 1 x 3 mm: the sform counts",)


def test_a_singular_sform_is_named(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", ZEROS, sform=affine(1, 1, 0))

    with pytest.raises(GeometryError, match=r"a.nii.gz: the affine is no invertible"):
        nifti.read_geometry(path)


def test_an_invalid_quaternion_is_named(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", ZEROS, qform=np.eye(4), quatern_b=0.9, quatern_c=0.9)

    with pytest.raises(GeometryError, match=r"a.nii.gz: the qform is invalid"):
        nifti.read_geometry(path)


# ---- units


@pytest.mark.parametrize(("code", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001)])
@pytest.mark.parametrize("form", ["sform", "qform"])
def test_lengths_become_mm_whatever_their_unit(tmp_path: Path, code: int, factor: float, form: str) -> None:
    stored = oblique(spacing=np.array([0.8, 0.8, 2.5]) / factor)
    stored[:3, 3] /= factor
    path = save_nifti(tmp_path / "a.nii", ZEROS, xyzt_units=code | 8, **{form: stored})

    found = nifti.read_geometry(path)

    assert np.allclose(found.affine, oblique(), atol=1e-3)


def test_a_converted_unit_is_said(tmp_path: Path) -> None:
    metres = save_nifti(tmp_path / "a.nii", ZEROS, qform=affine(0.001, 0.001, 0.003), xyzt_units=1)
    mm = save_nifti(tmp_path / "b.nii", ZEROS, qform=affine(1, 1, 3), xyzt_units=2)

    assert nifti.read_notes(metres) == ("lengths are in metre: spacing and position were multiplied by 1000",)
    assert nifti.read_notes(mm) == ()


@pytest.mark.parametrize("code", [4, 5, 6, 7])
def test_a_unit_that_does_not_exist_is_refused(tmp_path: Path, code: int) -> None:
    path = save_nifti(tmp_path / "a.nii", ZEROS, sform=np.eye(4), xyzt_units=code)

    with pytest.raises(GeometryError, match=f"unit of length does not exist; .* got xyzt_units {code}"):
        nifti.read_volume(path)


def test_labels_written_like_a_file_in_metres_lie_where_it_lies(tmp_path: Path) -> None:
    source = save_nifti(tmp_path / "a.nii", ZEROS, sform=affine(0.001, 0.002, 0.003), xyzt_units=1)
    nifti.write_labels(tmp_path / "b.nii.gz", ZEROS, nifti.read_geometry(source), like=source)

    assert np.array_equal(nifti.read_geometry(tmp_path / "b.nii.gz").affine, nifti.read_geometry(source).affine)


# ---- axes that are not at right angles


def test_cosines_of_three_decimals_are_turned_to_right_angles_and_noted(tmp_path: Path) -> None:
    rounded = oblique(spacing=(1, 1, 1))
    rounded[:3, :3] = np.round(rounded[:3, :3], 3)
    path = save_nifti(tmp_path / "a.nii", ZEROS, sform=rounded)

    found = nifti.read_geometry(path)

    assert max(skew_deg(found)) < 1e-6
    assert np.allclose(found.affine, rounded, atol=2e-3)
    assert "off a right angle were turned" in nifti.read_notes(path)[0]


def test_an_oblique_sform_of_float32_is_taken_bit_by_bit(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", ZEROS, sform=oblique())

    assert np.array_equal(nifti.read_geometry(path).affine, oblique().astype(np.float32).astype(np.float64))


@pytest.mark.parametrize("read", [nifti.read_geometry, nifti.read_volume, nifti.read_label_values])
def test_a_kept_gantry_tilt_is_refused_with_degrees_and_option(tmp_path: Path, read) -> None:
    path = save_nifti(tmp_path / "a.nii", ZEROS, sform=tilted(18.5))

    with pytest.raises(GeometryError, match=r"axes are sheared; .* got Y-Z 18.5 degrees off.*tilt: keep") as caught:
        read(path)
    assert "--tilt resample" in str(caught.value)
    assert read(path, tilt="keep") is not None


def test_a_kept_tilt_goes_through_a_file_unchanged(tmp_path: Path) -> None:
    grid = Geometry(ZEROS.shape, tilted(-21.0).astype(np.float32))
    nifti.write_labels(tmp_path / "a.nii.gz", ZEROS, grid)
    nifti.write_labels(tmp_path / "b.nii.gz", ZEROS, grid, like=tmp_path / "a.nii.gz")

    for name in ("a.nii.gz", "b.nii.gz"):
        assert np.array_equal(nifti.read_geometry(tmp_path / name, tilt="keep").affine, grid.affine)


# ---- what is no volume


def test_further_axes_of_one_frame_are_dropped(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", np.ones((4, 3, 2, 1, 1), np.int16), sform=np.eye(4))

    assert nifti.read_volume(path).hu.shape == (4, 3, 2)


@pytest.mark.parametrize("shape", [(4, 3, 2, 5), (4, 3, 2, 1, 5)])
def test_several_frames_are_refused_with_their_number(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", np.ones(shape, np.int16), sform=np.eye(4))

    with pytest.raises(FileReadError, match=f"{len(shape)}-D with 5 frames"):
        nifti.read_volume(path)


def test_a_flat_image_is_no_volume(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", np.ones((4, 3), np.int16), sform=np.eye(4))

    with pytest.raises(GeometryError, match="not a volume"):
        nifti.read_volume(path)


@pytest.mark.parametrize(
    ("kind", "name"), [(nib.Nifti1Pair, "half of a NIfTI pair"), (nib.AnalyzeImage, "Analyze 7.5")]
)
def test_headers_of_two_part_files_are_refused_by_name(tmp_path: Path, kind, name: str) -> None:
    nib.save(kind(ZEROS, np.eye(4)), tmp_path / "a.hdr")

    with pytest.raises(FileReadError, match=f"{name}.*single NIfTI file"):
        nifti.read_volume(tmp_path / "a.hdr")


@pytest.mark.parametrize("offset", [0, 100, 352.5, 1e30, np.nan])
def test_an_offset_that_points_at_no_voxels_is_refused(tmp_path: Path, offset: float) -> None:
    path = save_nifti(tmp_path / "a.nii", ZEROS, sform=np.eye(4), vox_offset=offset)

    with pytest.raises(FileReadError):
        nifti.read_volume(path)


@pytest.mark.parametrize("axes", [0, 8, -1])
def test_a_number_of_axes_that_cannot_be_is_refused(tmp_path: Path, axes: int) -> None:
    dim = [axes, 4, 3, 2, 1, 1, 1, 1]
    path = save_nifti(tmp_path / "a.nii", ZEROS, sform=np.eye(4), dim=dim, kind=nib.Nifti2Image)

    with pytest.raises(FileReadError, match="the number of axes is damaged; expected 1 to 7, got "):
        nifti.read_geometry(path)


def test_a_damaged_header_is_one_error_and_nothing_else_is_printed(tmp_path: Path, capfd, caplog) -> None:
    path = save_nifti(tmp_path / "a.nii", ZEROS, sform=np.eye(4), datatype=77)

    with pytest.raises(FileReadError, match=r"a.nii: the header is damaged; got data code 77 not recognized"):
        nifti.read_geometry(path)
    assert capfd.readouterr().err == "" and not caplog.records


@pytest.mark.parametrize("form", ["sform", "qform"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e20])
def test_a_position_that_is_no_place_is_refused(tmp_path: Path, form: str, value: float) -> None:
    field = {"srow_x": [value, 0, 0, 0]} if form == "sform" else {"qoffset_x": value}
    path = save_nifti(tmp_path / "a.nii", ZEROS, **{form: np.eye(4)}, **field)

    with pytest.raises(GeometryError, match=f"a.nii: the {form} holds numbers that are no place in a scanner"):
        nifti.read_geometry(path)
