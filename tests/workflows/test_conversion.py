"""`convert`: a DICOM series as NIfTI, in HU and on the same grid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import DicomError, FileReadError, GeometryError, OutputExistsError, UsageError
from medseg.imaging.acquisition import Acquisition
from medseg.io import dicom, nifti
from medseg.workflows import convert, list_series, scan

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
        convert(SERIES / "tilted", out, tilt="refuse", overwrite=True)
    assert out.read_bytes() == b"mine" and list(tmp_path.iterdir()) == [out]


def test_a_tilt_is_resampled_and_the_way_back_is_written_beside_the_file(tmp_path: Path) -> None:
    said: list[str] = []

    convert(SERIES / "tilted", tmp_path / "out.nii.gz", say=said.append)

    acquisition = Acquisition.from_dict(json.loads((tmp_path / "out.acquisition.json").read_text()))
    volume = nifti.read_volume(tmp_path / "out.nii.gz")
    assert acquisition.geometry.differences(volume.geometry) == []
    assert acquisition.slices == 4
    assert said[0] == "Gantry tilt of 14.0 degrees resampled onto an upright grid"


def test_a_kept_tilt_is_read_back_only_when_the_reader_is_told(tmp_path: Path) -> None:
    convert(SERIES / "tilted", tmp_path / "out.nii.gz", tilt="keep")

    with pytest.raises(GeometryError, match="14 degrees off"):
        convert(tmp_path / "out.nii.gz", tmp_path / "again.nii.gz")
    again = convert(tmp_path / "out.nii.gz", tmp_path / "again.nii.gz", tilt="keep")
    assert np.array_equal(load(again).affine, load(tmp_path / "out.nii.gz").affine)


def test_gaps_are_resampled_on_request_and_invented_slices_counted(tmp_path: Path) -> None:
    said: list[str] = []

    with pytest.raises(DicomError, match=r"10 mm one after slice 3 of 4.*--gaps resample"):
        convert(SERIES / "uneven", tmp_path / "out.nii.gz")
    convert(SERIES / "uneven", tmp_path / "out.nii.gz", gaps="resample", say=said.append)

    assert said[0] == "4 uneven slices resampled to 5 even ones, 1 of them invented"
    assert nifti.read_volume(tmp_path / "out.nii.gz").geometry.spacing_mm[2] == pytest.approx(5.0)


def test_a_tilt_that_was_kept_while_gaps_were_resampled_is_told_as_kept(tmp_path: Path) -> None:
    said: list[str] = []

    convert(SERIES / "tilted_uneven", tmp_path / "out.nii.gz", tilt="keep", gaps="resample", say=said.append)

    assert said[0] == "Gantry tilt of 15.5 degrees kept: the axes are sheared"


def test_an_even_upright_series_needs_no_record(tmp_path: Path) -> None:
    convert(SERIES / "lidc", tmp_path / "out.nii.gz")

    assert [path.name for path in tmp_path.iterdir()] == ["out.nii.gz"]


def test_options_of_another_kind_of_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--gaps means nothing for this kind of file"):
        convert(SERIES / "lidc.nii.gz", tmp_path / "out.nii.gz", gaps="resample")
    with pytest.raises(UsageError, match=r"--tilt cannot be 'drop'; expected resample or keep or refuse"):
        convert(SERIES / "lidc", tmp_path / "out.nii.gz", tilt="drop")


def test_a_tree_of_series_asks_which_and_a_scan_lists_them(tmp_path: Path) -> None:
    found = scan(SERIES)

    with pytest.raises(DicomError, match="Choose one, for example with --series series_"):
        convert(SERIES, tmp_path / "out.nii.gz")
    lidc = next(one for one in found.series if one.shape == (40, 32, 16))
    assert nifti.read_geometry(convert(SERIES, tmp_path / "out.nii.gz", series=lidc.id)).shape == (40, 32, 16)


@pytest.mark.parametrize(
    ("folder", "obstacle"),
    [
        ("tilted_uneven", "tilted by 15.5 degrees; the slices are unevenly spaced"),
        ("one_place", "not a volume: all "),
        ("too_few", "No CT series here"),
        ("lidc", "thick)\nPassed over: nothing"),
    ],
)
def test_a_list_says_what_keeps_a_series_from_being_a_volume(folder: str, obstacle: str) -> None:
    assert obstacle in "\n".join(list_series(SERIES / folder))


def test_wrong_names_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a NIfTI name"):
        convert(tmp_path / "absent", tmp_path / "out.png")
    (tmp_path / "out.nii").mkdir()
    with pytest.raises(UsageError, match="the output is a folder"):
        convert(tmp_path / "absent", tmp_path / "out.nii")
    with pytest.raises(FileReadError, match="no such file or folder"):
        convert(tmp_path / "absent", tmp_path / "new.nii")


def test_the_real_lung_slab_becomes_its_nifti(tmp_path: Path, shared_data: Path) -> None:
    written = convert(shared_data / "lidc_0001" / "dicom", tmp_path / "out.nii.gz")

    ours, other = nifti.read_volume(written), nifti.read_volume(shared_data / "lidc_0001" / "nifti" / "ct.nii.gz")
    assert np.array_equal(ours.hu, other.hu)
    assert ours.geometry.differences(other.geometry) == []
