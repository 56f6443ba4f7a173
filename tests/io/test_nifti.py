"""NIfTI: which affine counts, what is refused, and that nothing is lost between writing and reading."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.nifti1 import Nifti1Extension

from medseg.errors import FileReadError, GeometryError, LabelError, MedsegError, UsageError, VoxelError
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.volume import Volume
from medseg.io import label_files, nifti

LABELS = LabelSet({"background": 0, "liver": 1, "spleen": 7}, ignore=255)
OBLIQUE = np.array([[0.6, -0.64, 0.48, -11], [0.8, 0.48, -0.36, 7], [0, 0.6, 0.8, 3], [0, 0, 0, 1]])


def save(path: Path, array: np.ndarray, sform=None, qform=None, kind=nib.Nifti1Image) -> Path:
    image = kind(array, None)
    image.set_sform(sform, code=2 if sform is not None else 0)
    image.set_qform(qform, code=1 if qform is not None else 0)
    nib.save(image, path)
    return path


def load(path: Path) -> Any:
    return nib.load(path)


def affine(*diagonal: float) -> np.ndarray:
    return np.diag([*diagonal, 1.0])


ZEROS = np.zeros((4, 3, 2), np.int16)


# ---- where the voxels lie


def test_sform_counts_when_its_code_is_set(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", ZEROS, sform=affine(-1, -1, 3))

    assert nifti.read_geometry(path).orientation == "LPS"
    assert np.array_equal(nifti.read_volume(path).geometry.affine, affine(-1, -1, 3))


def test_qform_counts_when_the_sform_has_no_code(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", ZEROS, qform=affine(1, 1, 3) @ OBLIQUE)

    expected = load(path).header.get_qform()
    assert np.array_equal(nifti.read_geometry(path).affine, expected)


def test_a_header_without_any_position_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", ZEROS)

    with pytest.raises(GeometryError, match="does not say where the voxels lie"):
        nifti.read_volume(path)


def test_forms_that_contradict_are_refused_with_angle_and_distance(tmp_path: Path) -> None:
    quarter_turn = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    path = save(tmp_path / "a.nii.gz", np.zeros((5, 5, 2), np.int16), sform=np.eye(4), qform=quarter_turn)

    # the corner (4, 4) goes to (-4, 4): 8 mm away; the corner (4, 0) goes only sqrt(32) mm
    with pytest.raises(GeometryError, match=r"contradict.*90 degrees and corners up to 8 mm apart"):
        nifti.read_geometry(path)


def test_forms_that_differ_by_rounding_are_accepted(tmp_path: Path) -> None:
    shifted = OBLIQUE.copy()
    shifted[0, 3] += 0.01
    path = save(tmp_path / "a.nii.gz", ZEROS, sform=OBLIQUE, qform=shifted)

    assert nifti.read_geometry(path).origin_mm == pytest.approx((-11, 7, 3))


def test_a_singular_sform_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", ZEROS, sform=affine(1, 1, 0))

    with pytest.raises(GeometryError, match=r"a.nii.gz: the affine is no invertible"):
        nifti.read_geometry(path)


@pytest.mark.parametrize("unit", ["meter", "micron"])
def test_units_other_than_mm_are_refused(tmp_path: Path, unit: str) -> None:
    image = nib.Nifti1Image(ZEROS, np.eye(4))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii.gz")

    with pytest.raises(GeometryError, match="unit of length is not mm"):
        nifti.read_volume(tmp_path / "a.nii.gz")


def test_reading_the_grid_does_not_need_the_voxels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", ZEROS, sform=np.eye(4))
    path.write_bytes(path.read_bytes()[:360])

    assert nifti.read_geometry(path).shape == (4, 3, 2)


# ---- what the voxels say


def test_slope_and_intercept_turn_stored_values_into_hu(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.array([[[0, 1000]]], np.int16), np.eye(4))
    image.header.set_slope_inter(2, -1024)
    path = tmp_path / "a.nii.gz"
    nib.save(image, path)
    stored = image.to_bytes()  # nibabel divides by the slope on saving; put the raw numbers back
    path.write_bytes(gzip.compress(stored[:352] + np.array([0, 1000], "<i2").tobytes()))

    assert nifti.read_volume(path).hu.ravel().tolist() == [-1024, 976]


def test_a_fourth_axis_of_one_frame_is_dropped(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", np.ones((4, 3, 2, 1), np.int16), sform=np.eye(4))

    assert nifti.read_volume(path).hu.shape == (4, 3, 2)


def test_several_frames_are_refused_with_their_number(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", np.ones((4, 3, 2, 5), np.int16), sform=np.eye(4))

    with pytest.raises(FileReadError, match="4-D with 5 frames"):
        nifti.read_volume(path)


def test_a_flat_image_is_no_volume(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", np.ones((4, 3), np.int16), sform=np.eye(4))

    with pytest.raises(GeometryError, match="not a volume"):
        nifti.read_volume(path)


def test_colour_and_complex_voxels_are_refused(tmp_path: Path) -> None:
    colour = np.zeros((2, 2, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])

    for array in (colour, np.zeros((2, 2, 2), np.complex64)):
        with pytest.raises(FileReadError, match="no plain numbers"):
            nifti.read_volume(save(tmp_path / "a.nii.gz", array, sform=np.eye(4)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_refused_with_the_place(tmp_path: Path, bad: float) -> None:
    array = np.zeros((4, 3, 2), np.float32)
    array[1, 1, 1] = bad
    path = save(tmp_path / "a.nii.gz", array, sform=np.eye(4))

    with pytest.raises(VoxelError, match="case c001: 1 of 24 voxels are NaN or infinite"):
        nifti.read_volume(path, where="case c001")


# ---- files that are broken


@pytest.mark.parametrize("read", [nifti.read_volume, nifti.read_geometry, nifti.read_label_values])
def test_a_missing_file_is_named_without_its_folder(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(FileReadError, match=r"^c001.nii.gz: no such file") as caught:
        read(tmp_path / "c001.nii.gz")
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 5, 200, -200, -4])
def test_a_truncated_gz_is_refused_wherever_it_is_cut(tmp_path: Path, volume: Volume, kept: int) -> None:
    path = tmp_path / "a.nii.gz"
    nifti.write_volume(path, volume)
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(FileReadError):
        nifti.read_volume(path)


def test_a_truncated_plain_file_says_how_many_bytes_are_there(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", ZEROS, sform=np.eye(4))
    path.write_bytes(path.read_bytes()[:-10])

    with pytest.raises(FileReadError, match="truncated; expected 400 bytes of header and voxels, got 390"):
        nifti.read_volume(path)


def test_a_flipped_bit_in_a_gz_is_noticed(tmp_path: Path, volume: Volume) -> None:
    path = tmp_path / "a.nii.gz"
    nifti.write_volume(path, volume)
    data = bytearray(path.read_bytes())
    data[-6] ^= 0x10  # the checksum
    path.write_bytes(bytes(data))

    with pytest.raises(FileReadError, match="cannot be read"):
        nifti.read_volume(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 1000, b"\x1f\x8b junk"])
def test_what_is_no_nifti_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)

    with pytest.raises(FileReadError):
        nifti.read_volume(path)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_to_a_file_is_one_readable_error(tmp_path: Path, data: st.DataObject) -> None:
    path = save(tmp_path / "a.nii", ZEROS, sform=np.eye(4))
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, 351), min_size=1, max_size=20)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))

    try:
        volume = nifti.read_volume(path)
    except MedsegError as error:
        assert "\n" not in str(error)
    else:
        assert np.isfinite(volume.hu).all()


# ---- labels


def test_labels_stored_as_whole_floats_are_read_as_integers(tmp_path: Path) -> None:
    array = np.zeros((4, 3, 2), np.float64)
    array[0, 0, 0] = 7
    path = save(tmp_path / "a.nii.gz", array, sform=np.eye(4))

    reading = label_files.read_labels(path, LABELS)

    assert reading.labels.dtype == np.uint8 and reading.mask("spleen").sum() == 1


@pytest.mark.parametrize("bad", [0.5, np.nan])
def test_labels_that_are_no_integers_are_refused(tmp_path: Path, bad: float) -> None:
    array = np.zeros((4, 3, 2), np.float32)
    array[0, 0, 0] = bad
    path = save(tmp_path / "a.nii.gz", array, sform=np.eye(4))

    with pytest.raises(LabelError, match=r"1 label voxels are no integers; got (0.5|nan)"):
        label_files.read_labels(path, LABELS)


def test_unknown_label_values_are_listed_with_the_place(tmp_path: Path, grid: Geometry) -> None:
    labels = np.zeros(grid.shape, np.int16)
    labels[0, 0, :3] = [1, 4, 300]
    nifti.write_labels(tmp_path / "a.nii.gz", labels, grid)

    with pytest.raises(LabelError, match=r"case c001, rater A: label values .* got 4, 300"):
        label_files.read_labels(tmp_path / "a.nii.gz", LABELS, where="case c001, rater A")


def test_slices_read_beyond_the_file_are_refused(tmp_path: Path, grid: Geometry) -> None:
    nifti.write_labels(tmp_path / "a.nii.gz", np.zeros(grid.shape, np.uint8), grid)

    assert label_files.read_labels(tmp_path / "a.nii.gz", LABELS, slices_read=(0, 3)).slices_read == (0, 3)
    with pytest.raises(LabelError, match=r"slices_read lies outside the file; .* 0 to 3, got \[0, 4\]"):
        label_files.read_labels(tmp_path / "a.nii.gz", LABELS, slices_read=(0, 4))


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


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.floats(-4000, 4000, width=32), min_size=24, max_size=24),
    spacing=st.tuples(*[st.floats(0.25, 6, width=32)] * 3),
    origin=st.tuples(*[st.floats(-900, 900, width=32)] * 3),
    order=st.permutations(range(3)),
    signs=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
)
def test_a_volume_reads_back_bit_by_bit(tmp_path: Path, values, spacing, origin, order, signs) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = (np.eye(3)[list(order)] * signs) * spacing
    matrix[:3, 3] = origin
    volume = Volume(np.array(values, np.float32).reshape(4, 3, 2), Geometry((4, 3, 2), matrix))

    nifti.write_volume(tmp_path / "a.nii.gz", volume)
    again = nifti.read_volume(tmp_path / "a.nii.gz")

    assert np.array_equal(again.hu, volume.hu)
    assert np.array_equal(again.geometry.affine, volume.geometry.affine)


def test_an_oblique_affine_survives_to_the_precision_of_the_header(tmp_path: Path) -> None:
    turned = OBLIQUE * [[1.1], [1.1], [1.1], [1]]
    nifti.write_labels(tmp_path / "a.nii.gz", ZEROS, Geometry(ZEROS.shape, turned))
    once = nifti.read_geometry(tmp_path / "a.nii.gz")
    nifti.write_labels(tmp_path / "b.nii.gz", ZEROS, once)

    assert np.allclose(once.affine, turned, rtol=1e-6)
    assert np.array_equal(load(tmp_path / "b.nii.gz").affine, load(tmp_path / "a.nii.gz").affine)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("form", ["sform", "qform"])
def test_like_gives_exactly_the_affine_of_the_other_file(tmp_path: Path, form: str, kind: type) -> None:
    source = save(tmp_path / "a.nii.gz", ZEROS, kind=kind, **{form: OBLIQUE * [[0.7], [0.7], [0.7], [1]]})

    nifti.write_labels(tmp_path / "b.nii.gz", ZEROS, nifti.read_geometry(source), like=source)

    assert np.array_equal(load(tmp_path / "b.nii.gz").affine, load(source).affine)
    assert np.array_equal(nifti.read_geometry(tmp_path / "b.nii.gz").affine, nifti.read_geometry(source).affine)


def test_like_refuses_a_file_on_another_grid(tmp_path: Path, grid: Geometry) -> None:
    source = save(tmp_path / "a.nii.gz", ZEROS, sform=np.eye(4))

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
    sheared = np.eye(4)
    sheared[1, 2] = 2.0
    nifti.write_labels(tmp_path / "a.nii.gz", ZEROS, Geometry(ZEROS.shape, sheared))

    assert int(load(tmp_path / "a.nii.gz").header["qform_code"]) == 0
    assert np.array_equal(nifti.read_geometry(tmp_path / "a.nii.gz").affine, sheared)


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


def test_real_volumes_of_any_orientation_survive_bit_by_bit(tmp_path: Path, shared_data: Path) -> None:
    for name in ("sts_nifti/STS_008/CT_image", "lidc_0001/nifti/ct", "totalseg/example_ct_sm"):
        source = shared_data / f"{name}.nii.gz"
        volume = nifti.read_volume(source)
        nifti.write_volume(tmp_path / "a.nii.gz", volume)

        again = load(tmp_path / "a.nii.gz")

        assert np.array_equal(again.affine, load(source).affine)
        assert np.array_equal(again.get_fdata(dtype=np.float32), load(source).get_fdata(dtype=np.float32))
