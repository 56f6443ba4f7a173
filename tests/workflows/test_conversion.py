"""`convert`: a DICOM series as NIfTI, in HU and on the same grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import DicomError, FileReadError, OutputExistsError, UsageError
from medseg.io import dicom, nifti
from medseg.workflows import convert

SERIES = Path(__file__).parents[1] / "data" / "dicom"


def load(path: Path) -> Any:
    return nib.load(path)


@pytest.mark.parametrize("name", ["out.nii.gz", "out.nii", "new/folder/out.nii.gz"])
def test_the_file_holds_the_series_voxel_by_voxel(tmp_path: Path, name: str) -> None:
    series = dicom.read_series(SERIES / "lidc")

    written = convert(SERIES / "lidc", tmp_path / name)

    volume = nifti.read_volume(written)
    assert written == tmp_path / name
    assert np.array_equal(volume.hu, series.hu)
    assert np.array_equal(volume.geometry.affine, series.geometry.affine)


def test_the_file_equals_what_other_software_made_of_the_series(tmp_path: Path) -> None:
    convert(SERIES / "lidc", tmp_path / "out.nii.gz")

    ours, other = load(tmp_path / "out.nii.gz"), load(SERIES / "lidc.nii.gz")
    assert np.array_equal(ours.get_fdata(), other.get_fdata())
    assert np.allclose(ours.affine, other.affine, atol=1e-4)


def test_the_header_names_nobody(tmp_path: Path) -> None:
    written = convert(SERIES / "small", tmp_path / "out.nii")

    assert b"Anonymous" in (SERIES / "small" / "IMG0001.dcm").read_bytes()  # the source has a name to give away
    assert b"Anonymous" not in written.read_bytes()


def test_an_existing_file_is_kept_unless_overwrite(tmp_path: Path) -> None:
    out = tmp_path / "out.nii.gz"
    out.write_bytes(b"mine")

    with pytest.raises(OutputExistsError, match=r"out\.nii\.gz: the file exists.*--overwrite"):
        convert(SERIES / "small", out)
    assert out.read_bytes() == b"mine"
    assert nifti.read_geometry(convert(SERIES / "small", out, overwrite=True)).shape == (23, 38, 3)


def test_a_refused_series_leaves_the_old_file(tmp_path: Path) -> None:
    out = tmp_path / "out.nii.gz"
    out.write_bytes(b"mine")

    with pytest.raises(DicomError, match="tilted by 14"):
        convert(SERIES / "tilted", out, overwrite=True)
    assert out.read_bytes() == b"mine" and list(tmp_path.iterdir()) == [out]


def test_wrong_names_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a NIfTI name"):
        convert(tmp_path / "absent", tmp_path / "out.png")
    (tmp_path / "out.nii").mkdir()
    with pytest.raises(UsageError, match="the output is a folder"):
        convert(tmp_path / "absent", tmp_path / "out.nii")
    with pytest.raises(FileReadError, match="no such folder"):
        convert(tmp_path / "absent", tmp_path / "new.nii")


def test_the_real_lung_slab_becomes_its_nifti(tmp_path: Path, shared_data: Path) -> None:
    written = convert(shared_data / "lidc_0001" / "dicom", tmp_path / "out.nii.gz")

    ours, other = nifti.read_volume(written), nifti.read_volume(shared_data / "lidc_0001" / "nifti" / "ct.nii.gz")
    assert np.array_equal(ours.hu, other.hu)
    assert ours.geometry.differences(other.geometry) == []
