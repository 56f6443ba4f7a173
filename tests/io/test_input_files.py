"""Whether the files of an image are still the same."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import FileReadError
from medseg.io.input_files import digest, stamp
from medseg.io.readers import READERS, find_reader

SERIES = Path(__file__).parents[1] / "data" / "dicom" / "small"


def test_stamp_and_digest_of_a_copy_differ_and_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"voxels")
    one = READERS["nifti"].files(tmp_path / "a.nii")
    before = stamp(one), digest(one)
    os.utime(tmp_path / "a.nii", ns=(5, 5))
    assert stamp(one) != before[0] and digest(one) == before[1]


def test_the_data_file_of_a_header_counts(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5), dtype=np.int16)), str(tmp_path / "ct.mhd"))
    files = READERS["itk"].files(tmp_path / "ct.mhd")
    before = digest(files)
    (tmp_path / "ct.raw").write_bytes((tmp_path / "ct.raw").read_bytes()[:-1] + b"\1")
    assert len(files) == 2 and digest(files) != before


def test_a_series_in_a_zip_has_the_digest_of_its_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in SERIES.iterdir():
            archive.write(path, path.name)
    packed = READERS["dicom"].files(tmp_path / "study.zip")
    assert digest(packed) == digest(READERS["dicom"].files(SERIES))


def test_the_stamp_of_an_archive_survives_a_copy(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for path in SERIES.iterdir():
            archive.write(path, path.name)
    shutil.copyfile(tmp_path / "study.zip", tmp_path / "copy.zip")
    assert stamp(READERS["dicom"].files(tmp_path / "copy.zip")) == stamp(READERS["dicom"].files(tmp_path / "study.zip"))


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    for ask in (stamp, digest):
        with pytest.raises(FileReadError, match="study x: a file cannot be read"):
            ask(READERS["nifti"].files(tmp_path / "gone.nii"), where="study x")


def test_only_options_that_are_not_the_default_are_told() -> None:
    reader = find_reader(SERIES)
    assert reader.told({"tilt": "resample", "gaps": "resample", "series": "series_1"}) == {"gaps": "resample"}
    assert READERS["nifti"].told({"tilt": "refuse", "nan_hu": None}) == {}
    assert READERS["itk"].told({"tilt": "keep"}) == {"tilt": "keep"}
