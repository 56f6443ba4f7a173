"""Where DICOM files may lie: trees, zips, DICOMDIRs, single files, and archives that mean harm."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from medseg.errors import DicomError, FileReadError
from medseg.io import dicom
from medseg.io.dicom_sources import Inflated, files_below
from medseg.io.dicom_zip import members

WriteSeries = Callable[..., Path]


def zipped(folder: Path, *, method: int = zipfile.ZIP_DEFLATED, prefix: str = "study/") -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in files_below(folder):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def write_directory(folder: Path, ids: list[list[str]]) -> Path:
    """A DICOMDIR whose records name these files."""
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.DirectoryRecordSequence = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that no medium may have
        for parts in ids:
            record = Dataset()
            record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", parts
            directory.DirectoryRecordSequence.append(record)
        directory.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder / "DICOMDIR"


# ---- folder trees


def test_a_series_is_gathered_from_folders_of_any_depth(write_series: WriteSeries, tmp_path: Path) -> None:
    write_series([0, 1, 2, 3, 4])
    for index, name in enumerate(["a/b/c/IM1.dcm", "a/IM2", "d/IM3.IMA", "d/e/4", "IM5.dcm"]):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "series" / f"slice{index}").rename(tmp_path / "tree" / name)

    assert dicom.read_series(tmp_path / "tree").hu[0, 0].tolist() == [-24, -23, -22, -21, -20]


def test_hidden_files_and_folders_are_not_read(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2])
    write_series([9], name="series/.trash")
    (folder / ".trash" / "slice0").rename(folder / "._slice9")
    write_series([9], name="series/.trash")

    assert dicom.read_series(folder).geometry.shape[2] == 3


def test_links_in_a_circle_end(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2], name="tree/series")
    os.symlink(folder.parent, folder / "again", target_is_directory=True)
    os.symlink(folder / "nowhere", folder / "broken")

    assert [len(series.images) for series in dicom.scan(folder.parent).series] == [3]


def test_a_folder_that_cannot_be_opened_is_an_error(write_series: WriteSeries, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_series([0, 1, 2])
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    (folder / "locked").mkdir()
    monkeypatch.setattr(os, "scandir", scandir)

    with pytest.raises(FileReadError, match="series: a folder in it cannot be read"):
        dicom.read_series(folder)


def test_one_file_is_a_source_too(write_series: WriteSeries) -> None:
    with pytest.raises(DicomError, match="series_0b20d139: too few slices for a volume; expected at least 3, got 1"):
        dicom.read_series(write_series([0, 1, 2]) / "slice0")


def test_a_file_that_is_no_dicom_says_so(tmp_path: Path) -> None:
    (tmp_path / "ct.txt").write_text("no image")

    with pytest.raises(DicomError, match=r"ct\.txt: no image slices here; expected a CT series, got 1 not DICOM"):
        dicom.read_series(tmp_path / "ct.txt")


def test_progress_is_told_to_the_last_file_and_slice(write_series: WriteSeries) -> None:
    told: list[tuple[str, int, int]] = []

    dicom.read_series(write_series(list(range(20))), progress=lambda *step: told.append(step))

    assert [step for step in told if step[1] == step[2]] == [("headers", 20, 20), ("slices", 20, 20)]
    assert [step[1] for step in told if step[0] == "slices"] == list(range(1, 21))


# ---- zip


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_reads_as_the_folder_that_was_packed(write_series: WriteSeries, method: int) -> None:
    folder = write_series([0, 1, 2])
    write_series([40], name="series/below", ImageType=[["ORIGINAL", "PRIMARY", "LOCALIZER"]])
    archive = zipped(folder, method=method)

    assert dicom.is_series(archive) and dicom.series_id(archive) == dicom.series_id(folder)
    assert np.array_equal(dicom.read_series(archive).hu, dicom.read_series(folder).hu)
    assert dicom.scan(archive).left_out == "1 localiser"


def test_nothing_is_unpacked_beside_a_zip(write_series: WriteSeries, tmp_path: Path) -> None:
    archive = zipped(write_series([0, 1, 2]))
    before = sorted(tmp_path.rglob("*"))

    dicom.read_series(archive)

    assert sorted(tmp_path.rglob("*")) == before


def test_macos_shadows_hidden_members_and_archives_within_are_passed_over(write_series: WriteSeries) -> None:
    archive = zipped(write_series([0, 1, 2]))
    with zipfile.ZipFile(archive, "a") as out:
        out.writestr("__MACOSX/study/._slice0", b"resource fork")
        out.writestr("study/.DS_Store", b"x")
        out.writestr("study/more.zip", b"PK\x03\x04 and so on")

    assert dicom.scan(archive).left_out == "1 unopened archive"


@pytest.mark.parametrize("name", ["../slice9", "study/../../slice9", "/etc/slice9", "C:\\slice9", "..\\slice9"])
def test_names_that_lead_out_of_the_archive_are_refused(write_series: WriteSeries, name: str) -> None:
    archive = zipped(write_series([0, 1, 2]))
    with zipfile.ZipFile(archive, "a") as out:
        out.writestr(name, b"x")

    with pytest.raises(FileReadError, match=r"series\.zip: a member of the zip has a name that leads out"):
        dicom.read_series(archive)


def test_a_member_that_inflates_a_thousandfold_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("zeros", bytes(80 << 20))

    with pytest.raises(FileReadError, match=r"bomb\.zip: a member of the zip is a decompression bomb.*got 80 MiB of 0"):
        dicom.read_series(tmp_path / "bomb.zip")


def test_a_member_that_declares_less_than_it_holds_is_refused(write_series: WriteSeries) -> None:
    archive = zipped(write_series([0, 1, 2]))
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as opened:
        size = opened.infolist()[0].file_size
    at = content.index(struct.pack("<L", size), content.index(b"PK\x01\x02"))
    content[at : at + 4] = struct.pack("<L", size - 30)
    archive.write_bytes(content)

    with pytest.raises(DicomError, match="file 1 of 3: a header cannot be read"):
        dicom.read_series(archive)


def test_members_that_share_their_bytes_are_refused(write_series: WriteSeries) -> None:
    archive = zipped(write_series([0, 1, 2]))
    content = bytearray(archive.read_bytes())
    first = content.index(b"PK\x01\x02")
    second = content.index(b"PK\x01\x02", first + 4)
    content[second + 42 : second + 46] = content[first + 42 : first + 46]  # the second begins where the first does
    archive.write_bytes(content)

    with pytest.raises(FileReadError, match=r"decompression bomb.*members that share their bytes"):
        dicom.read_series(archive)


def test_a_changed_byte_in_a_zip_is_found_by_its_checksum(write_series: WriteSeries) -> None:
    archive = zipped(write_series([0, 1, 2]), method=zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    last_pixel = content.index(b"PK\x03\x04", 10) - 1  # of the first member
    content[last_pixel] ^= 1
    archive.write_bytes(content)

    with pytest.raises(DicomError, match="file 1 of 3: a header cannot be read"):
        dicom.read_series(archive)


def test_a_changed_pixel_is_found_by_its_checksum_also_where_more_follows(write_series: WriteSeries) -> None:
    pixels = np.zeros((128, 128), np.int16)
    archive = zipped(write_series([0, 1, 2], pixels=pixels, DataSetTrailingPadding=bytes(100)),
                     method=zipfile.ZIP_STORED)  # fmt: skip
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x03\x04", 10) - 1000] ^= 1
    archive.write_bytes(content)

    with pytest.raises(DicomError, match="the pixels cannot be read: a member is not what the archive declares"):
        dicom.read_series(archive)


def test_an_encrypted_zip_is_refused(write_series: WriteSeries) -> None:
    archive = zipped(write_series([0, 1, 2]))
    content = bytearray(archive.read_bytes())
    at = content.index(b"PK\x01\x02") + 8
    content[at] |= 1
    archive.write_bytes(content)

    with pytest.raises(FileReadError, match="the zip is encrypted"):
        dicom.read_series(archive)


def test_a_zip_without_its_end_is_refused(write_series: WriteSeries) -> None:
    archive = zipped(write_series([0, 1, 2]))
    archive.write_bytes(archive.read_bytes()[:-40])

    assert dicom.is_series(archive)  # so that the reader of DICOM tells what is wrong
    with pytest.raises(FileReadError, match=r"series\.zip: the zip is damaged"):
        dicom.read_series(archive)


def test_members_packed_by_other_methods_are_refused_by_number(write_series: WriteSeries) -> None:
    archive = zipped(write_series([0, 1, 2]), method=zipfile.ZIP_LZMA)

    with pytest.raises(FileReadError, match=r"packed in an uncommon way; expected deflated or stored, got method 14"):
        dicom.read_series(archive)


def test_a_member_can_be_read_again_from_an_earlier_place(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2])
    content = (folder / "slice0").read_bytes()

    with members(zipped(folder))[0].open() as stream:
        assert stream.read(200) == content[:200]
        assert stream.seek(150) == 150 and stream.read(20) == content[150:170]
        assert stream.seek(10, io.SEEK_CUR) == 180 and stream.read() == content[180:]
        assert stream.read() == b""


def test_an_inflated_stream_takes_no_more_than_it_is_asked_for(tmp_path: Path) -> None:
    class Content:
        def open(self) -> io.BytesIO:
            return io.BytesIO(b"head" + raw)

    deflater = zlib.compressobj(wbits=-15)
    raw = deflater.compress(bytes(50 << 20)) + deflater.flush()

    with Inflated(Content(), 4).open() as stream:
        assert len(stream.read(1000)) == 1000
        assert stream.tell() == 1000


# ---- DICOMDIR


def test_a_dicomdir_gives_the_files_that_it_names_whatever_their_case(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2], name="medium/images")
    write_series([3], name="medium/other")
    directory = write_directory(folder.parent, [["IMAGES", f"SLICE{index}"] for index in range(3)])

    assert dicom.is_series(directory)
    assert dicom.read_series(directory).geometry.shape[2] == 3


def test_a_dicomdir_in_a_folder_is_no_image_and_not_told(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2])
    write_directory(folder, [["SLICE0"]])

    assert dicom.read_series(folder).geometry.shape[2] == 3
    assert dicom.scan(folder).left_out == ""


def test_files_that_a_dicomdir_names_but_are_missing_are_counted(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2])
    directory = write_directory(folder, [["SLICE0"], ["SLICE1"], ["SLICE7"], ["GONE", "SLICE8"]])

    with pytest.raises(DicomError, match=r"DICOMDIR: the DICOMDIR names 2 files that are not there; got 2 of 4 files"):
        dicom.read_series(directory)


@pytest.mark.parametrize("parts", [["..", "SLICE0"], ["/etc", "passwd"], ["C:", "X"]])
def test_a_dicomdir_does_not_lead_out_of_its_folder(write_series: WriteSeries, parts: list[str]) -> None:
    folder = write_series([0, 1, 2], name="medium/images")

    with pytest.raises(DicomError, match="names a file outside its folder"):
        dicom.read_series(write_directory(folder, [parts]))


def test_a_link_out_of_the_medium_is_a_missing_file(write_series: WriteSeries, tmp_path: Path) -> None:
    folder = write_series([0, 1, 2])
    outside = write_series([0], name="outside")
    os.symlink(outside, folder / "LINK", target_is_directory=True)

    with pytest.raises(DicomError, match="names 1 files that are not there"):
        dicom.read_series(write_directory(folder, [["LINK", "SLICE0"]]))


def test_a_damaged_dicomdir_is_an_error(write_series: WriteSeries) -> None:
    directory = write_directory(write_series([0, 1, 2]), [["SLICE0"]])
    directory.write_bytes(directory.read_bytes()[:-30])

    with pytest.raises(DicomError, match="the DICOMDIR cannot be read"):
        dicom.read_series(directory)


# ---- deflated files


def test_a_deflated_series_equals_the_plain_one(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2])
    plain = dicom.read_series(folder).hu
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(path)

    assert np.array_equal(dicom.read_series(folder).hu, plain)
    assert np.array_equal(dicom.read_series(zipped(folder)).hu, plain)


# ---- slices that were cut off while they were copied


@pytest.mark.parametrize("length", [0, 60, 100, 128])
def test_a_slice_cut_off_before_it_can_be_known_is_not_passed_over(write_series: WriteSeries, length: int) -> None:
    path = write_series([0, 1, 2, 3]) / "slice3"
    path.write_bytes(path.read_bytes()[:length])

    with pytest.raises(DicomError, match="series: an empty file, or one that begins with nothing but zeros"):
        dicom.read_series(path.parent)


def test_a_slice_cut_off_anywhere_is_an_error_and_never_a_shorter_volume(write_series: WriteSeries) -> None:
    path = write_series([0, 1, 2, 3]) / "slice3"
    content = path.read_bytes()

    for length in range(0, len(content), 31):
        path.write_bytes(content[:length])
        with pytest.raises(DicomError):
            dicom.read_series(path.parent)


def test_an_empty_file_elsewhere_harms_nobody(write_series: WriteSeries) -> None:
    folder = write_series([0, 1, 2], name="tree/series")
    (folder.parent / "done").touch()

    assert dicom.read_series(folder.parent).hu.shape == (6, 4, 3)
