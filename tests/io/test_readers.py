"""The table of readers: every kind of image gives a volume and a case id."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import SimpleITK as sitk

from medseg.errors import FileReadError
from medseg.imaging.volume import Volume
from medseg.io import nifti
from medseg.io.readers import READERS, find_reader


@pytest.fixture
def images(tmp_path: Path, volume: Volume, write_series: Callable[..., Path]) -> dict[str, Path]:
    """One image of every kind in the table."""
    nifti.write_volume(tmp_path / "c001.nii.gz", volume)
    itk = sitk.GetImageFromArray(volume.hu.T.copy())
    sitk.WriteImage(itk, str(tmp_path / "c002.nrrd"))
    return {"nifti": tmp_path / "c001.nii.gz", "itk": tmp_path / "c002.nrrd", "dicom": write_series([0, 1, 2])}


@pytest.mark.parametrize("name", READERS)
def test_each_reader_accepts_and_reads_its_own_kind_only(images: dict[str, Path], name: str) -> None:
    reader = find_reader(images[name])

    assert reader is READERS[name]
    assert [kind for kind, other in READERS.items() if other.accepts(images[name])] == [name]
    geometry = reader.read(images[name]).geometry
    assert min(geometry.shape) > 1 and not geometry.differences(reader.grid(images[name]))


def test_case_ids_are_the_stem_and_the_hashed_series(images: dict[str, Path]) -> None:
    assert READERS["nifti"].case_id(images["nifti"]) == "c001"
    assert READERS["dicom"].case_id(images["dicom"]) == "series_0b20d139"


def test_what_no_reader_accepts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileReadError, match="neither a NIfTI, NRRD or MetaImage file nor a folder of DICOM files"):
        find_reader(tmp_path)
    with pytest.raises(FileReadError, match="no such file or folder"):
        find_reader(tmp_path / "absent")


@pytest.mark.parametrize("name", ["a.hdr", "a.img", "a.HDR.gz"])
def test_files_of_two_parts_are_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")

    with pytest.raises(FileReadError, match=r"one half of a NIfTI or Analyze pair.*single NIfTI file"):
        find_reader(tmp_path / name)
