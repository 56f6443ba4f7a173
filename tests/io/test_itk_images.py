"""NRRD and MetaImage files: against what SimpleITK reads, 3-D Slicer's segments, and headers that lie."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medseg.errors import FileReadError, GeometryError, LabelError, MedsegError, VoxelError
from medseg.imaging.geometry import Geometry
from medseg.io import itk_images
from medseg.io.itk_images import label_names, read_geometry, read_label_values, read_masks, read_volume

TWIN = Path(__file__).parents[1] / "data" / "dicom" / "seg" / "binary.nrrd"
SUFFIXES = ("nrrd", "nhdr", "mha", "mhd")
NRRD = """NRRD0004
# a comment
type: {type}
dimension: 3
space: {space}
sizes: 4 3 2
space directions: (2,0,0) (0,3,0) (0,0,5)
kinds: domain domain domain
endian: little
encoding: {encoding}
space origin: (10,20,30)
"""
META = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 10 20 30
ElementSpacing = 2 3 5
DimSize = 4 3 2
ElementType = MET_UCHAR
ElementDataFile = LOCAL
"""
VALUES = np.arange(24, dtype=np.uint8).reshape(4, 3, 2, order="F")
RAW = VALUES.tobytes(order="F")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a header and its bytes as one file."""

    def write(header: str, body: bytes = RAW, name: str = "a.nrrd") -> Path:
        (tmp_path / name).write_bytes(header.encode() + (b"\n" if header.startswith("NRRD") else b"") + body)
        return tmp_path / name

    return write


def nrrd(**changes: str) -> str:
    fields = {"type": "uint8", "space": "left-posterior-superior", "encoding": "raw"} | changes
    return NRRD.format(**fields)


def image(values: Any, seed: int = 0) -> sitk.Image:
    """Oblique, off the origin, three different spacings; values are (X, Y, Z)."""
    made = sitk.GetImageFromArray(np.ascontiguousarray(values.T))
    made.SetDirection(Rotation.random(rng=np.random.default_rng(seed)).as_matrix().ravel().tolist())
    made.SetOrigin([1.5, -3.0, 7.0])
    made.SetSpacing([0.5, 0.75, 2.0])
    return made


def assert_as_itk(path: Path, geometry: Geometry) -> None:
    """Same affine as ITK's, turned from LPS to RAS."""
    read = sitk.ReadImage(path)
    affine = np.eye(4)
    affine[:3, :3] = np.array(read.GetDirection()).reshape(3, 3) * read.GetSpacing()
    affine[:3, 3] = read.GetOrigin()
    np.testing.assert_allclose(geometry.affine, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, atol=1e-9)


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)  # without the time: two workers must collect tests of the same name


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_voxels_and_grid_are_those_that_itk_reads(tmp_path: Path, suffix: str, packed: bool, kind: str) -> None:
    values = np.random.default_rng(1).integers(0, 120, (6, 5, 4)).astype(kind)
    path = tmp_path / f"a.{suffix}"
    sitk.WriteImage(image(values), path, useCompression=packed)
    labels, geometry = read_label_values(path)
    np.testing.assert_array_equal(labels, values)
    np.testing.assert_array_equal(read_volume(path).hu, values)
    assert_as_itk(path, geometry)
    assert not geometry.differences(read_geometry(path))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), suffix=st.sampled_from(["nrrd", "mha"]))
def test_oblique_grids_are_those_of_itk(tmp_path_factory: pytest.TempPathFactory, seed: int, suffix: str) -> None:
    path = tmp_path_factory.mktemp("oblique") / f"a.{suffix}"
    sitk.WriteImage(image(VALUES, seed), path)
    assert_as_itk(path, read_geometry(path))


def test_a_file_of_another_program_is_read_as_itk_reads_it() -> None:
    labels, geometry = read_label_values(TWIN)
    np.testing.assert_array_equal(labels, sitk.GetArrayFromImage(sitk.ReadImage(TWIN)).T)
    assert_as_itk(TWIN, geometry)


@pytest.mark.parametrize(
    ("space", "origin"),
    [
        ("left-posterior-superior", (-10, -20, 30)),
        ("LPS", (-10, -20, 30)),
        ("right-anterior-superior", (10, 20, 30)),
        ("left-anterior-superior", (-10, 20, 30)),
    ],
)
def test_every_anatomical_space_is_turned_to_ras(
    write: Callable[..., Path], space: str, origin: tuple[float, ...]
) -> None:
    geometry = read_geometry(write(nrrd(space=space)))
    assert geometry.origin_mm == origin
    assert geometry.spacing_mm == (2, 3, 5)


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed", ""])
def test_a_space_without_left_and_right_is_refused(write: Callable[..., Path], space: str) -> None:
    with pytest.raises(GeometryError, match="does not say where the patient's left and front are"):
        read_geometry(write(nrrd(space=space)))


def test_other_units_of_length_become_mm(write: Callable[..., Path]) -> None:
    geometry = read_geometry(write(nrrd() + 'space units: "cm" "cm" "cm"\n'))
    assert geometry.spacing_mm == (20, 30, 50)
    assert geometry.origin_mm == (-100, -200, 300)
    with pytest.raises(GeometryError, match="unit of length"):
        read_geometry(write(nrrd() + 'space units: "inch" "inch" "inch"\n'))


@pytest.mark.parametrize("line", ["space origin: (10,20,30)\n", "space directions: (2,0,0) (0,3,0) (0,0,5)\n"])
def test_an_nrrd_without_a_position_is_refused(write: Callable[..., Path], line: str) -> None:
    with pytest.raises(GeometryError, match="does not say where the voxels lie"):
        read_geometry(write(nrrd().replace(line, "")))


def test_a_metaimage_without_a_position_is_refused(write: Callable[..., Path]) -> None:
    with pytest.raises(GeometryError, match="'Offset' is missing"):
        read_geometry(write(META.replace("Offset = 10 20 30\n", ""), name="a.mha"))


def test_a_metaimage_without_directions_has_axes_along_lps(write: Callable[..., Path]) -> None:
    path = write(META.replace("TransformMatrix = 1 0 0 0 1 0 0 0 1\n", ""), name="a.mha")
    assert_as_itk(path, read_geometry(path))


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("gzip", packed(RAW)), ("gzip", packed(RAW[:9]) + packed(RAW[9:])),
     ("txt", " ".join(map(str, RAW)).encode()), ("raw", RAW)],
)  # fmt: skip
def test_encodings_give_the_same_voxels(write: Callable[..., Path], encoding: str, body: bytes) -> None:
    np.testing.assert_array_equal(read_label_values(write(nrrd(encoding=encoding), body))[0], VALUES)


def test_bytes_and_lines_before_the_voxels_are_skipped(write: Callable[..., Path]) -> None:
    skipped = write(nrrd() + "line skip: 2\nbyte skip: 3\n", b"one\ntwo\nabc" + RAW)
    np.testing.assert_array_equal(read_label_values(skipped)[0], VALUES)
    from_the_end = write(nrrd() + "byte skip: -1\n", b"whatever" + RAW)
    np.testing.assert_array_equal(read_label_values(from_the_end)[0], VALUES)


def test_big_endian_voxels_are_read(write: Callable[..., Path]) -> None:
    header = nrrd(type="short").replace("endian: little", "endian: big")
    np.testing.assert_array_equal(read_volume(write(header, VALUES.astype(">i2").tobytes(order="F"))).hu, VALUES)


def test_one_frame_of_a_fourth_axis_is_left_out(tmp_path: Path) -> None:
    four = sitk.GetImageFromArray(VALUES.T[None], isVector=False)
    sitk.WriteImage(four, tmp_path / "a.mha")
    np.testing.assert_array_equal(read_label_values(tmp_path / "a.mha")[0], VALUES)


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
def test_several_components_are_refused(tmp_path: Path, suffix: str) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 3, 2, 3), np.uint8), isVector=True), tmp_path / f"a.{suffix}")
    for read in (read_volume, read_label_values, read_geometry):
        with pytest.raises(FileReadError, match="3 values per voxel; expected one"):
            read(tmp_path / f"a.{suffix}")


def test_nan_is_refused_in_images_and_labels(tmp_path: Path) -> None:
    values = VALUES.astype(np.float32)
    values[0, 0, 0] = np.nan
    sitk.WriteImage(image(values), tmp_path / "a.mha")
    with pytest.raises(VoxelError, match="1 of 24 voxels"):
        read_volume(tmp_path / "a.mha")
    with pytest.raises(LabelError, match="1 label voxels are no integers"):
        read_label_values(tmp_path / "a.mha")


def seg_nrrd(segments: list[dict[str, Any]], layers: int = 1) -> str:
    """A header as 3-D Slicer writes it; several layers are the first, fastest axis."""
    header = nrrd()
    if layers > 1:
        header = header.replace("dimension: 3", "dimension: 4").replace("sizes: 4 3 2", f"sizes: {layers} 4 3 2")
        header = header.replace("directions: ", "directions: none ").replace("kinds: ", "kinds: list ")
    pairs = [f"Segment{number}_{key}:={value}\n" for number, each in enumerate(segments) for key, value in each.items()]
    return header + "".join(pairs)


def segment(name: str, **more: Any) -> dict[str, Any]:
    return {"ID": f"id_{name}", "Name": name, **more}


ORGANS = [segment("liver", LabelValue=5, Layer=0), segment("left kidney", LabelValue=7, Layer=0)]


def test_segments_of_one_layer_name_the_label_values(write: Callable[..., Path]) -> None:
    body = bytes([0, 5, 7, 5] + [0] * 20)
    path = write(seg_nrrd(ORGANS), body, "c001.seg.nrrd")
    assert label_names(path) == {5: "liver", 7: "left kidney"}
    masks, geometry = read_masks(path)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"liver": 2, "left kidney": 1}
    assert masks["liver"][1, 0, 0]
    assert masks["liver"].shape == geometry.shape


def test_overlapping_segments_in_layers_are_separate_masks(write: Callable[..., Path]) -> None:
    segments = [segment("liver", LabelValue=1, Layer=0), segment("tumour", LabelValue=1, Layer=1),
                segment("cyst", LabelValue=2, Layer=1)]  # fmt: skip
    body = bytes([1, 1, 1, 2] + [0] * 44)  # voxel 0: liver and tumour; voxel 1: liver and cyst
    path = write(seg_nrrd(segments, 2), body, "a.seg.nrrd")
    masks, _ = read_masks(path)
    assert {name: np.argwhere(mask).tolist() for name, mask in masks.items()} == {
        "liver": [[0, 0, 0], [1, 0, 0]], "tumour": [[0, 0, 0]], "cyst": [[1, 0, 0]]}  # fmt: skip
    assert read_geometry(path).shape == (4, 3, 2)
    for read in (read_label_values, label_names):
        with pytest.raises(LabelError, match="masks:"):
            read(path)


def test_old_segmentations_have_a_layer_for_each_segment(write: Callable[..., Path]) -> None:
    path = write(seg_nrrd([segment("a"), segment("b")], 2), bytes([0, 1] + [0] * 46), "a.seg.nrrd")
    assert {name: int(mask.sum()) for name, mask in read_masks(path)[0].items()} == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    ("segments", "fault"),
    [
        ([segment("a", LabelValue=5, Layer=3)], "layers that the file does not have"),
        ([segment("a", LabelValue=5), segment("a", LabelValue=6)], "cannot be told apart"),
        ([segment("a", LabelValue=5), segment("b", LabelValue=5)], "cannot be told apart"),
        ([segment("a", LabelValue=0)], "cannot be told apart"),
        ([segment("a", LabelValue="x")], "list of segments is damaged"),
        ([segment("a", LabelValue=5), segment("b")], "list of segments is damaged"),
    ],
)
def test_contradictory_segments_are_refused(
    write: Callable[..., Path], segments: list[dict[str, Any]], fault: str
) -> None:
    with pytest.raises(LabelError, match=fault):
        read_masks(write(seg_nrrd(segments), name="a.seg.nrrd"))


def test_values_that_no_segment_claims_are_refused(write: Callable[..., Path]) -> None:
    with pytest.raises(LabelError, match="expected 5, 7, got 9"):
        read_masks(write(seg_nrrd(ORGANS), bytes([5, 9] + [0] * 22), "a.seg.nrrd"))


def test_a_label_map_without_names_gives_numbered_masks(write: Callable[..., Path]) -> None:
    path = write(nrrd(), bytes([2, 9] + [0] * 22))
    assert label_names(path) == {}
    assert list(read_masks(path)[0]) == ["label 2", "label 9"]


@pytest.mark.parametrize("name", ["../secret.raw", "/etc/passwd", "sub/../../x.raw", "C:\\x.raw", "..\\x.raw", ""])
@pytest.mark.parametrize("suffix", ["nhdr", "mhd"])
def test_data_outside_the_folder_is_not_opened(tmp_path: Path, name: str, suffix: str) -> None:
    (tmp_path / "secret.raw").write_bytes(RAW)
    path = tmp_path / "inner" / f"a.{suffix}"
    path.parent.mkdir()
    header = META.replace("LOCAL", name) if suffix == "mhd" else nrrd() + f"data file: {name}\n"
    path.write_text(header)
    with pytest.raises(FileReadError, match="outside the folder"):
        read_volume(path)


def test_data_in_a_folder_below_are_read_and_missing_ones_named(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.raw").write_bytes(RAW)
    (tmp_path / "a.mhd").write_text(META.replace("LOCAL", "raw/a.raw"))
    (tmp_path / "b.mhd").write_text(META.replace("LOCAL", "raw/b.raw"))
    np.testing.assert_array_equal(read_label_values(tmp_path / "a.mhd")[0], VALUES)
    with pytest.raises(FileReadError, match=r"the data file is missing; expected 'b\.raw"):
        read_volume(tmp_path / "b.mhd")


def test_sizes_beyond_the_file_are_refused_before_memory_is_taken(write: Callable[..., Path]) -> None:
    """A terabyte by the header: an allocation would fail or swap."""
    huge = nrrd().replace("sizes: 4 3 2", "sizes: 10000 10000 10000")
    for header, body in ((huge, RAW), (huge.replace("raw", "gzip"), gzip.compress(RAW))):
        with pytest.raises(FileReadError, match="does not hold the voxels that its header declares"):
            read_volume(write(header, body))
    meta = META.replace("DimSize = 4 3 2", "DimSize = 10000 10000 10000")
    with pytest.raises(FileReadError, match="does not hold"):
        read_volume(write(meta, RAW, "a.mha"))
    with pytest.raises(GeometryError, match="not a volume"):
        read_volume(write(nrrd().replace("sizes: 4 3 2", f"sizes: {2**40} {2**40} 2")))


@pytest.mark.parametrize("body", [RAW[:-1], RAW + b"\0", b""])
@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_files_with_fewer_or_more_voxels_are_refused(write: Callable[..., Path], encoding: str, body: bytes) -> None:
    with pytest.raises(FileReadError, match="does not hold the voxels"):
        read_volume(write(nrrd(encoding=encoding), gzip.compress(body) if encoding == "gzip" else body))


def test_damaged_gzip_is_refused(write: Callable[..., Path]) -> None:
    packed = bytearray(gzip.compress(RAW))
    packed[-5] ^= 1
    for body in (bytes(packed), gzip.compress(RAW)[:-9], b"no gzip at all"):
        with pytest.raises(FileReadError):
            read_volume(write(nrrd(encoding="gzip"), body))


@pytest.mark.parametrize(
    "header",
    [
        "NRRD0009\n",
        "no header",
        nrrd(type="block"),
        nrrd(encoding="hex"),
        nrrd(type="short").replace("endian: little\n", ""),
        nrrd() + "sizes: 4 3 2\n",
        nrrd() + "no field\n",
        nrrd() + "data file: LIST\n",
        nrrd() + "data file: slice%d.raw 0 9 1\n",
        nrrd() + "byte skip: -2\n",
        nrrd().replace("(2,0,0)", "(2,0)"),
        nrrd().replace("(2,0,0)", "(nan,0,0)"),
        nrrd().replace("(2,0,0)", "none"),
        nrrd().replace("(2,0,0)", "(1e300,0,0)"),
        nrrd().replace("(2,0,0)", "(0,3,0)"),
        nrrd().replace("sizes: 4 3 2", "sizes: 4 3"),
        nrrd().replace("sizes: 4 3 2", "sizes: 4 -3 2"),
        META.replace("NDims = 3", "NDims = 2"),
        META.replace("NDims = 3", "NDims = x"),
        META.replace("MET_UCHAR", "MET_STRING"),
        META.replace("MET_UCHAR", "MET_UCHAR_ARRAY"),
        META.replace("ElementSpacing = 2 3 5", "ElementSpacing = 2 0 5"),
        META.replace("ElementSpacing = 2 3 5\n", ""),
        META.replace("LOCAL", "LIST"),
        META.replace("BinaryData = True", "BinaryData = Maybe"),
        META.replace("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0 0 0"),
        META.replace("ElementDataFile = LOCAL\n", ""),
    ],
)
def test_headers_that_cannot_be_understood_are_refused(write: Callable[..., Path], header: str) -> None:
    name = "a.mha" if header.startswith("ObjectType") else "a.nrrd"
    with pytest.raises(MedsegError, match=f"^{name}: "):
        read_volume(write(header, name=name))


def test_names_and_stems() -> None:
    assert all(itk_images.is_itk(f"a.{suffix}") for suffix in (*SUFFIXES, "seg.nrrd", "MHA"))
    assert not itk_images.is_itk("a.nii.gz")
    assert itk_images.stem("x/c001.Seg.nrrd") == "c001"


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.nrrd").mkdir()
    for name in ("missing.mha", "folder.nrrd", "a.txt"):
        with pytest.raises(FileReadError):
            read_volume(tmp_path / name)


def test_nothing_reaches_the_terminal(write: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileReadError):
        read_volume(write(nrrd(), RAW[:3]))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_files_end_in_an_error_or_in_a_volume(tmp_path: Path, suffix: str, packed: bool) -> None:
    path = tmp_path / f"a.{suffix}"
    sitk.WriteImage(image(VALUES), path, useCompression=packed)
    good, random = path.read_bytes(), np.random.default_rng(5)
    for _ in range(300):
        bad = bytearray(good)
        for place in random.integers(0, len(bad), random.integers(1, 5)):
            bad[place] = random.integers(0, 256)
        path.write_bytes(bytes(bad[: random.integers(0, len(bad))] if random.random() < 0.3 else bad))
        try:
            volume = read_volume(path)
            assert volume.hu.shape == volume.geometry.shape
        except MedsegError as error:
            assert str(error)
