"""NIfTI: what the voxels say, and that nothing is lost between writing and reading."""

from __future__ import annotations

import subprocess
import sys
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nibabel.nifti1 import Nifti1Extension
from nibabel.orientations import aff2axcodes
from scipy.spatial.transform import Rotation

from medseg.errors import FileReadError, GeometryError, LabelError, UsageError, VoxelError
from medseg.imaging.geometry import Geometry
from medseg.imaging.prediction import ScaledMap
from medseg.imaging.volume import Volume
from medseg.io import nifti
from tests.support.nifti_files import save_nifti, tilted

OBLIQUE = np.array([[0.6, -0.64, 0.48, -11], [0.8, 0.48, -0.36, 7], [0, 0.6, 0.8, 3], [0, 0, 0, 1]])
ZEROS = np.zeros((4, 3, 2), np.int16)


def load(path: Path) -> Any:
    return nib.load(path)


# ---- what the voxels say


KINDS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_type_and_byte_order_reads_as_nibabel_does(tmp_path: Path, kind: str, order: str) -> None:
    array = np.arange(24).reshape(4, 3, 2).astype(order + kind)

    for suffix, image in ((".nii", nib.Nifti1Image), (".nii.gz", nib.Nifti2Image)):
        path = save_nifti(tmp_path / f"a{suffix}", array, sform=np.eye(4), kind=image)
        assert np.array_equal(load(path).get_fdata(), array)  # the file is what it is meant to be
        volume = nifti.read_volume(path)
        assert volume.hu.dtype == np.float32 and np.array_equal(volume.hu, array)
        assert np.array_equal(nifti.read_label_values(path)[0], array)


@pytest.mark.parametrize(("slope", "inter"), [(2, -1024), (0.1, 0), (1, -1000.5), (-3, 7), (1, 0)])
@pytest.mark.parametrize("kind", ["u1", "<i2", ">u4", "<f4", ">f8"])
def test_slope_and_intercept_are_applied_as_nibabel_does(tmp_path: Path, kind: str, slope: float, inter: float) -> None:
    array = np.arange(24).reshape(4, 3, 2).astype(kind)
    path = save_nifti(tmp_path / "a.nii.gz", array, sform=np.eye(4), scl_slope=slope, scl_inter=inter)

    expected = np.asarray(load(path).dataobj).astype(np.float32)

    assert np.array_equal(nifti.read_volume(path).hu, expected)
    assert expected[0, 0, 1] == np.float32(np.float32(slope) * np.float64(1) + np.float32(inter))


@pytest.mark.parametrize("slope", [0, np.nan])
def test_a_slope_that_is_none_scales_nothing(tmp_path: Path, slope: float) -> None:
    path = save_nifti(tmp_path / "a.nii", ZEROS + 5, sform=np.eye(4), scl_slope=slope, scl_inter=-1024)

    assert (nifti.read_volume(path).hu == 5).all()


def test_an_infinite_slope_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileReadError, match="scl_slope is infinite"):
        nifti.read_volume(save_nifti(tmp_path / "a.nii", ZEROS, sform=np.eye(4), scl_slope=-np.inf, scl_inter=0))


def test_a_slope_without_an_intercept_is_refused(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", ZEROS, sform=np.eye(4), scl_slope=1, scl_inter=np.nan)

    with pytest.raises(FileReadError, match="scl_slope is given and scl_inter is no number"):
        nifti.read_volume(path)


def test_the_volume_lies_in_memory_with_x_fastest(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", ZEROS, sform=np.eye(4))

    assert nifti.read_volume(path).hu.flags.f_contiguous


def test_colour_and_complex_voxels_are_refused(tmp_path: Path) -> None:
    colour = np.zeros((2, 2, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])

    for array in (colour, np.zeros((2, 2, 2), np.complex64)):
        with pytest.raises(FileReadError, match="no plain numbers"):
            nifti.read_volume(save_nifti(tmp_path / "a.nii.gz", array, sform=np.eye(4)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_refused_with_the_place(tmp_path: Path, bad: float) -> None:
    array = np.zeros((4, 3, 2), np.float32)
    array[1, 1, 1] = bad
    path = save_nifti(tmp_path / "a.nii.gz", array, sform=np.eye(4))

    with pytest.raises(VoxelError, match="case c001: 1 of 24 voxels are NaN or infinite"):
        nifti.read_volume(path, where="case c001")


def test_nan_outside_the_field_of_view_may_be_declared_air(tmp_path: Path) -> None:
    array = np.full((4, 3, 2), 40, np.float32)
    array[0, 0, 0] = np.nan
    path = save_nifti(tmp_path / "a.nii.gz", array, sform=np.eye(4))

    hu = nifti.read_volume(path, nan_hu=-1000).hu

    assert hu[0, 0, 0] == -1000 and (hu.ravel() == 40).sum() == 23


def test_infinite_voxels_are_no_air(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", np.full((4, 3, 2), np.inf, np.float32), sform=np.eye(4))

    with pytest.raises(VoxelError, match="24 of 24 voxels"):
        nifti.read_volume(path, nan_hu=-1000)


def test_doubles_beyond_float32_are_refused(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", np.full((4, 3, 2), 1e300), sform=np.eye(4))

    with pytest.raises(VoxelError, match="infinite"):
        nifti.read_volume(path)


# ---- labels


@pytest.mark.parametrize("bad", [0.5, np.nan])
def test_labels_that_are_no_integers_are_refused(tmp_path: Path, bad: float) -> None:
    array = np.zeros((4, 3, 2), np.float32)
    array[0, 0, 0] = bad
    path = save_nifti(tmp_path / "a.nii.gz", array, sform=np.eye(4))

    with pytest.raises(LabelError, match=r"a.nii.gz: 1 label voxels are no integers; got (0.5|nan)"):
        nifti.read_label_values(path)


def test_scaled_labels_are_the_scaled_integers(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", ZEROS + 3, sform=np.eye(4), scl_slope=2, scl_inter=1)

    assert (nifti.read_label_values(path)[0] == 7).all()


def test_labels_stored_as_whole_floats_are_read_as_integers(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", np.full((4, 3, 2), 7.0), sform=np.eye(4))

    assert nifti.read_label_values(path)[0].dtype == np.uint8


@pytest.mark.parametrize(
    ("highest", "dtype"), [(255, np.uint8), (256, np.int16), (40_000, np.int32), (2**40, np.int64)]
)
def test_labels_are_written_in_the_smallest_integer_type(tmp_path: Path, highest: int, dtype: type) -> None:
    labels = np.array([[[0, highest]]], dtype=np.int64)
    nifti.write_labels(tmp_path / "a.nii.gz", labels, Geometry((1, 1, 2), np.eye(4)))

    stored = load(tmp_path / "a.nii.gz")

    assert stored.get_data_dtype() == dtype
    assert np.array_equal(nifti.read_label_values(tmp_path / "a.nii.gz")[0], labels)


def test_float_arrays_are_no_labels(tmp_path: Path, grid: Geometry) -> None:
    with pytest.raises(LabelError, match="labels must be integers"):
        nifti.write_labels(tmp_path / "a.nii.gz", np.zeros(grid.shape), grid)  # pyright: ignore[reportArgumentType]


# ---- writing


ORIENTATIONS = [(order, signs) for order in permutations(range(3)) for signs in product([1.0, -1.0], repeat=3)]


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_every_one_of_the_48_orientations_reads_back_bit_by_bit(tmp_path: Path, order, signs) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = (np.eye(3)[list(order)] * signs) * (0.75, 1.5, 3.125)
    matrix[:3, 3] = -120.5, 33.25, 870
    volume = Volume(np.arange(24, dtype=np.float32).reshape(4, 3, 2), Geometry((4, 3, 2), matrix))

    nifti.write_volume(tmp_path / "a.nii.gz", volume)
    again = nifti.read_volume(tmp_path / "a.nii.gz")

    assert np.array_equal(again.hu, volume.hu) and np.array_equal(again.geometry.affine, matrix)
    assert again.geometry.orientation == "".join(aff2axcodes(load(tmp_path / "a.nii.gz").affine))
    assert np.array_equal(load(tmp_path / "a.nii.gz").get_fdata(), volume.hu)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.floats(-4000, 4000, width=32) | st.integers(-40_000, 40_000), min_size=24, max_size=24),
    spacing=st.tuples(*[st.floats(0.25, 6, width=32)] * 3),
    origin=st.tuples(*[st.floats(-900, 900, width=32)] * 3),
    turn=st.tuples(*[st.floats(-180, 180)] * 3),
    flips=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    name=st.sampled_from(["a.nii", "a.nii.gz"]),
)
def test_a_volume_at_any_angle_reads_back_as_float32_keeps_it(
    tmp_path: Path, values, spacing, origin, turn, flips, name
) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() * spacing * flips
    matrix[:3, 3] = origin
    kept = matrix.astype(np.float32)
    volume = Volume(np.array(values, np.float32).reshape(4, 3, 2), Geometry((4, 3, 2), matrix))

    nifti.write_volume(tmp_path / name, volume)
    again = nifti.read_volume(tmp_path / name)
    nifti.write_volume(tmp_path / f"twice_{name}", again)

    assert np.array_equal(again.hu, volume.hu) and np.array_equal(again.geometry.affine, kept)
    assert np.array_equal(nifti.read_geometry(tmp_path / f"twice_{name}").affine, kept)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=arrays(st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.int64]), (3, 2, 2)))
def test_labels_of_any_integer_type_read_back_equal(tmp_path: Path, labels: np.ndarray) -> None:
    grid = Geometry(labels.shape, np.eye(4))

    nifti.write_labels(tmp_path / "a.nii.gz", labels, grid)

    assert np.array_equal(nifti.read_label_values(tmp_path / "a.nii.gz")[0], labels)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("form", ["sform", "qform"])
def test_like_gives_exactly_the_affine_of_the_other_file(tmp_path: Path, form: str, kind: type) -> None:
    source = save_nifti(tmp_path / "a.nii.gz", ZEROS, kind=kind, **{form: OBLIQUE * [[0.7], [0.7], [0.7], [1]]})

    nifti.write_labels(tmp_path / "b.nii.gz", ZEROS, nifti.read_geometry(source), like=source)

    assert np.array_equal(load(tmp_path / "b.nii.gz").affine, load(source).affine)
    assert np.array_equal(nifti.read_geometry(tmp_path / "b.nii.gz").affine, nifti.read_geometry(source).affine)


def test_like_refuses_a_file_on_another_grid(tmp_path: Path, grid: Geometry) -> None:
    source = save_nifti(tmp_path / "a.nii.gz", ZEROS, sform=np.eye(4))

    with pytest.raises(GeometryError, match=r"another grid than the file it is to be like; got shape"):
        nifti.write_labels(tmp_path / "b.nii.gz", np.zeros(grid.shape, np.uint8), grid, like=source)


def test_both_forms_are_written_and_nothing_that_could_name_a_patient(tmp_path: Path, volume: Volume) -> None:
    image = nib.Nifti1Image(ZEROS, np.eye(4))
    image.header["descrip"], image.header["aux_file"], image.header["db_name"] = b"Doe Jane", b"Doe.txt", b"Doe"
    image.header.extensions.append(Nifti1Extension("comment", b"Doe Jane"))
    nib.save(image, tmp_path / "a.nii")

    nifti.write_volume(tmp_path / "b.nii", nifti.read_volume(tmp_path / "a.nii"), like=tmp_path / "a.nii")
    nifti.write_volume(tmp_path / "c.nii", volume)

    header = load(tmp_path / "c.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert np.allclose(header.get_qform(), header.get_sform(), atol=1e-4)
    assert b"Doe" not in (tmp_path / "b.nii").read_bytes() and not load(tmp_path / "b.nii").header.extensions


def test_a_sheared_grid_is_written_without_a_qform(tmp_path: Path) -> None:
    grid = Geometry(ZEROS.shape, tilted(18.5).astype(np.float32))
    nifti.write_labels(tmp_path / "a.nii.gz", ZEROS, grid)

    assert int(load(tmp_path / "a.nii.gz").header["qform_code"]) == 0
    assert np.array_equal(nifti.read_geometry(tmp_path / "a.nii.gz", tilt="keep").affine, grid.affine)


def test_whole_hu_are_stored_as_int16_and_others_as_float32(tmp_path: Path, grid: Geometry) -> None:
    for value, dtype in ((-1024.0, np.int16), (0.5, np.float32), (40_000.0, np.float32)):
        nifti.write_volume(tmp_path / "a.nii", Volume(np.full(grid.shape, value, np.float32), grid))

        assert load(tmp_path / "a.nii").get_data_dtype() == dtype
        assert (nifti.read_volume(tmp_path / "a.nii").hu == value).all()


def test_probabilities_keep_their_fourth_axis(tmp_path: Path, grid: Geometry) -> None:
    probabilities = np.random.default_rng(0).random((*grid.shape, 3), dtype=np.float32)
    nifti.write_probabilities(tmp_path / "p.nii.gz", probabilities, grid)

    stored = load(tmp_path / "p.nii.gz")

    assert np.array_equal(stored.get_fdata(dtype=np.float32), probabilities)
    assert np.array_equal(stored.affine, grid.affine)


def test_equal_content_gives_equal_bytes(tmp_path: Path, volume: Volume) -> None:
    nifti.write_volume(tmp_path / "a.nii.gz", volume)
    nifti.write_volume(tmp_path / "b.nii.gz", volume)

    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_name_that_is_no_nifti_is_refused(tmp_path: Path, volume: Volume) -> None:
    with pytest.raises(UsageError, match=r"expected a name that ends in \.nii\.gz or \.nii"):
        nifti.write_volume(tmp_path / "a.png", volume)


def test_an_array_of_another_shape_than_the_grid_is_refused(tmp_path: Path, grid: Geometry) -> None:
    with pytest.raises(GeometryError, match="array and grid differ"):
        nifti.write_labels(tmp_path / "a.nii.gz", ZEROS, grid)


DISK_FULL = """
import resource, sys
import numpy as np
from medseg.errors import WriteError
from medseg.imaging.geometry import Geometry
from medseg.io import label_files, nifti
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
noise = np.random.default_rng(1).integers(0, 200, (64, 64, 64)).astype(np.uint8)
try:
    nifti.write_labels(sys.argv[1], noise, Geometry(noise.shape, np.eye(4)))
except WriteError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits on the size of a file are a POSIX facility")
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, grid: Geometry, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    nifti.write_labels(path, np.ones(grid.shape, np.uint8), grid)
    before = path.read_bytes()

    done = subprocess.run([sys.executable, "-c", DISK_FULL, str(path)], capture_output=True, text=True, check=True)

    assert done.stdout.startswith(f"a{suffix}: could not write: File too large")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


# ---- real files


def test_all_real_files_read_as_nibabel_reads_them(shared_data: Path) -> None:
    paths = sorted(shared_data.rglob("*.nii.gz"))
    assert len(paths) > 250

    for path in paths:
        theirs = load(path)
        labels_or_hu = nifti.read_volume(path)
        assert np.array_equal(labels_or_hu.geometry.affine, theirs.affine), path.name
        assert np.array_equal(labels_or_hu.hu, np.asarray(theirs.dataobj, dtype=np.float32)), path.name


def test_real_volumes_of_any_orientation_survive_bit_by_bit(tmp_path: Path, shared_data: Path) -> None:
    for name in ("sts_nifti/STS_008/CT_image", "lidc_0001/nifti/ct", "totalseg/example_ct_sm"):
        source = shared_data / f"{name}.nii.gz"
        volume = nifti.read_volume(source)
        nifti.write_volume(tmp_path / "a.nii.gz", volume)

        again = load(tmp_path / "a.nii.gz")

        assert np.array_equal(again.affine, load(source).affine)
        assert np.array_equal(again.get_fdata(dtype=np.float32), load(source).get_fdata(dtype=np.float32))


def test_a_map_is_written_in_small_steps_and_read_in_nats(tmp_path: Path) -> None:
    nats = np.random.default_rng(0).uniform(0, 1.6, (5, 6, 7))
    grid = Geometry((5, 6, 7), np.diag([1.0, 2.0, 3.0, 1.0]))
    steps = np.rint(nats / 1e-4).astype(np.int16)

    nifti.write_map(tmp_path / "m.nii.gz", ScaledMap(steps, 1e-4), grid)

    written = load(tmp_path / "m.nii.gz")
    assert written.get_data_dtype() == np.int16
    assert np.abs(written.get_fdata() - nats).max() < 0.51e-4
