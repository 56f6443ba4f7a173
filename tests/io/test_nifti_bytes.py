"""Damaged, cut, padded and malicious NIfTI files: an error that says so, and no more memory than the file deserves."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medseg.errors import FileReadError, MedsegError
from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.io import nifti, nifti_bytes
from tests.support.nifti_files import save_nifti

ZEROS = np.zeros((4, 3, 2), np.int16)
NOISE = np.random.default_rng(4).integers(-1000, 2000, (20, 15, 10)).astype(np.int16)
READERS = [nifti.read_volume, nifti.read_label_values]
once = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=["whole", "pieces"])
def piece_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as usual, once with pieces of 7 and 11 bytes, so that numbers lie across their seams."""
    if request.param == "pieces":
        monkeypatch.setattr(nifti_bytes, "PIECE", 7)
        monkeypatch.setattr(nifti_bytes, "PACKED_PIECE", 11)


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    return save_nifti(tmp_path / "a.nii.gz", NOISE, sform=np.eye(4))


@pytest.mark.parametrize("read", [nifti.read_volume, nifti.read_geometry, nifti.read_label_values])
def test_a_missing_file_is_named_without_its_folder(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(FileReadError, match=r"^c001.nii.gz: no such file") as caught:
        read(tmp_path / "c001.nii.gz")
    assert str(tmp_path) not in str(caught.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.nii").mkdir()

    with pytest.raises(FileReadError, match="cannot be read"):
        nifti.read_volume(tmp_path / "a.nii")


@pytest.mark.usefixtures("piece_size")
@pytest.mark.parametrize("kind", ["<i2", ">i2", "<f4", ">f8", "u1", ">u4"])
def test_pieces_of_any_size_give_the_same_numbers(tmp_path: Path, kind: str) -> None:
    array = np.abs(NOISE % 256).astype(kind)

    for name in ("a.nii", "a.nii.gz"):
        path = save_nifti(tmp_path / name, array, sform=np.eye(4))
        assert np.array_equal(nifti.read_volume(path).hu, array)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kept", [0, 5, 200, 380, -200, -8, -4, -1])
def test_a_truncated_gz_is_refused_wherever_it_is_cut(noise: Path, read: Callable[[Path], object], kept: int) -> None:
    noise.write_bytes(noise.read_bytes()[:kept])

    with pytest.raises(FileReadError):
        read(noise)


def test_a_truncated_plain_file_says_how_many_bytes_are_there(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", ZEROS, sform=np.eye(4))
    path.write_bytes(path.read_bytes()[:-10])

    with pytest.raises(FileReadError, match="truncated; expected 400 bytes of header and voxels, got 390"):
        nifti.read_volume(path)


def test_voxels_that_are_missing_in_a_whole_gz_are_counted(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", ZEROS, sform=np.eye(4))
    path.write_bytes(gzip.compress(path.read_bytes()[:-10]))

    with pytest.raises(FileReadError, match="truncated; expected 400 bytes of header and voxels, got 390"):
        nifti.read_volume(path)


@pytest.mark.parametrize("packed", [False, True])
def test_bytes_after_the_voxels_are_refused(tmp_path: Path, packed: bool) -> None:
    path = save_nifti(tmp_path / "a.nii", ZEROS, sform=np.eye(4))
    content = path.read_bytes() + b"\0"
    path.write_bytes(gzip.compress(content) if packed else content)

    with pytest.raises(FileReadError, match="goes on after the voxels that its header announces; expected 400 bytes"):
        nifti.read_volume(path)


@pytest.mark.usefixtures("piece_size")
def test_a_gz_of_several_members_is_one_file(tmp_path: Path) -> None:
    content = save_nifti(tmp_path / "b.nii", NOISE, sform=np.eye(4)).read_bytes()
    members = [gzip.compress(content[:100]), gzip.compress(b""), gzip.compress(content[100:999]), b"\0" * 30,
               gzip.compress(content[999:]), b"\0" * 512]  # fmt: skip
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"".join(members))

    assert np.array_equal(nifti.read_volume(path).hu, NOISE)


@pytest.mark.parametrize(
    "tail", [b"garbage", b"\0\0\x1f", b"\x1f\x8bgarbage", gzip.compress(b"more", mtime=0)],
    ids=["garbage", "after padding", "a broken member", "another member"],
)  # fmt: skip
def test_what_follows_the_gzip_stream_is_refused(noise: Path, tail: bytes) -> None:
    noise.write_bytes(noise.read_bytes() + tail)

    with pytest.raises(FileReadError):
        nifti.read_volume(noise)


@pytest.mark.parametrize("place", [-6, -2])
def test_a_wrong_checksum_or_length_of_a_gz_is_noticed(noise: Path, place: int) -> None:
    data = bytearray(noise.read_bytes())
    data[place] ^= 0x10
    noise.write_bytes(bytes(data))

    with pytest.raises(FileReadError, match="cannot be read"):
        nifti.read_volume(noise)


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 1000, b"\x1f\x8b junk", b"\x1f\x8b", b"\x1f"])
def test_what_is_no_nifti_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)

    with pytest.raises(FileReadError):
        nifti.read_volume(path)


def test_a_header_that_announces_more_than_gzip_can_hold_is_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", ZEROS, sform=np.eye(4), dim=[3, 900, 900, 900, 1, 1, 1, 1])

    tracemalloc.start()
    with pytest.raises(FileReadError, match=r"truncated; expected 1458000352 bytes .* cannot hold them"):
        nifti.read_volume(path)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


def test_a_gzip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    head = save_nifti(tmp_path / "b.nii", ZEROS, sform=np.eye(4), dim=[3, 1500, 1500, 1500, 1, 1, 1, 1]).read_bytes()
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(head[:352]) + gzip.compress(np.random.default_rng(0).bytes(8_000_000)))

    with pytest.raises(FileReadError, match=r"unpacks to far more than an image does; .* got 6.8 GB from 8.0 MB"):
        nifti.read_volume(path)


def test_a_long_tail_of_zeros_is_not_unpacked_to_the_end(tmp_path: Path) -> None:
    content = save_nifti(tmp_path / "b.nii", ZEROS, sform=np.eye(4)).read_bytes()
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(content + bytes(300_000_000), compresslevel=1))

    tracemalloc.start()
    with pytest.raises(FileReadError, match="goes on after the voxels"):
        nifti.read_volume(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_reading_the_grid_does_not_need_the_voxels(tmp_path: Path) -> None:
    for name in ("a.nii", "a.nii.gz"):
        path = save_nifti(tmp_path / name, NOISE, sform=np.eye(4))
        path.write_bytes(path.read_bytes()[:600])

        assert nifti.read_geometry(path).shape == NOISE.shape


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_reading_needs_no_more_memory_than_the_volume_and_a_few_pieces(tmp_path: Path, name: str) -> None:
    array = np.zeros((256, 256, 100), np.int16)
    path = save_nifti(tmp_path / name, array, sform=np.eye(4))

    tracemalloc.start()
    nifti.read_volume(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 4 * array.size + 8e6


@once
@given(data=st.data())
def test_any_damage_to_a_header_is_one_readable_error(tmp_path: Path, data: st.DataObject) -> None:
    path = save_nifti(tmp_path / "a.nii", ZEROS, sform=np.eye(4))
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


@once
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_in_a_gz_is_noticed_or_harmless(tmp_path: Path, place: float, bit: int) -> None:
    data = bytearray(save_nifti(tmp_path / "b.nii.gz", NOISE, sform=np.eye(4)).read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    path = tmp_path / "a.nii.gz"
    path.write_bytes(bytes(data))

    try:
        volume = nifti.read_volume(path)
    except FileReadError:
        return
    assert np.array_equal(volume.hu, NOISE)  # a bit of the time stamp or the name


def test_a_written_volume_survives_in_a_mapped_file_that_is_replaced(tmp_path: Path) -> None:
    grid = Geometry(NOISE.shape, np.eye(4))
    nifti.write_volume(tmp_path / "a.nii", Volume(NOISE.astype(np.float32), grid))
    values, _ = nifti.read_label_values(tmp_path / "a.nii")
    (tmp_path / "a.nii").write_bytes(b"gone")

    assert np.array_equal(values, NOISE)
