"""Label files of every format by one table: values, names, masks that overlap, slices that were read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import FileReadError, GeometryError, LabelError
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.io import label_files, nifti

LABELS = LabelSet({"background": 0, "liver": 1, "spleen": 7}, ignore=255)
FORMATS = [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"]
SPACING, ORIGIN_RAS = (0.75, 1.5, 3.0), (-20.0, 30.0, -40.0)
GRID = Geometry((6, 5, 4), np.array([[0.75, 0, 0, -20], [0, 1.5, 0, 30], [0, 0, 3.0, -40], [0, 0, 0, 1]]))


def drawn(*places: tuple[int, int, int], value: int = 1) -> np.ndarray:
    labels = np.zeros(GRID.shape, np.int16)
    for place in places:
        labels[place] = value
    return labels


def save(path: Path, labels: np.ndarray) -> Path:
    """By SimpleITK, whose world is LPS."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(labels.T))
    image.SetSpacing(SPACING)
    image.SetOrigin((-ORIGIN_RAS[0], -ORIGIN_RAS[1], ORIGIN_RAS[2]))
    image.SetDirection(np.diag([-1.0, -1.0, 1.0]).ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_same_labels_on_the_same_grid(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"c001{suffix}", drawn((1, 2, 3), value=7))

    values, grid = label_files.read_label_values(path)

    assert label_files.is_label_file(path) and label_files.label_stem(path) == "c001"
    assert np.argwhere(values == 7).tolist() == [[1, 2, 3]]
    assert not GRID.differences(grid) and not GRID.differences(label_files.read_label_grid(path))
    assert label_files.label_names(path) == {}


def test_what_is_no_label_file_is_refused_with_the_suffixes(tmp_path: Path) -> None:
    assert not label_files.is_label_file("c001.png")
    with pytest.raises(FileReadError, match=r"c001.png: not a label file; expected a name that ends in .nii.gz"):
        label_files.read_label_values(tmp_path / "c001.png")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_unknown_label_values_are_listed_with_the_place(tmp_path: Path, suffix: str) -> None:
    labels = drawn((0, 0, 0))
    labels[1, 1, :2] = 4, 300
    path = save(tmp_path / f"a{suffix}", labels)

    with pytest.raises(LabelError, match=r"case c001, rater A: label values .* got 4, 300"):
        label_files.read_labels(path, LABELS, where="case c001, rater A")


def test_values_that_do_not_count_up_are_read_and_written_back_unchanged(tmp_path: Path) -> None:
    labels = drawn((0, 0, 0), value=255) + drawn((1, 1, 1), value=7)
    reading = label_files.read_labels(save(tmp_path / "a.nii.gz", labels), LABELS)
    nifti.write_labels(tmp_path / "b.nii.gz", LABELS.to_values(reading.indices), reading.geometry)

    assert sorted(np.unique(reading.indices)) == [-1, 0, 2]
    assert np.array_equal(label_files.read_label_values(tmp_path / "b.nii.gz")[0], labels)


def test_slices_read_beyond_the_file_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", drawn())

    assert label_files.read_labels(path, LABELS, slices_read=(0, 3)).slices_read == (0, 3)
    for read in (lambda: label_files.read_labels(path, LABELS, slices_read=(0, 4)),
                 lambda: label_files.read_regions({"liver": path}, LABELS, slices_read=(0, 4))):  # fmt: skip
        with pytest.raises(LabelError, match=r"slices_read lies outside the file; .* 0 to 3, got \[0, 4\]"):
            read()


# ---- a file for each structure


def test_masks_of_several_formats_make_one_reading_that_overlaps(tmp_path: Path) -> None:
    paths = {
        "liver": save(tmp_path / "liver.nrrd", drawn((1, 1, 1), (2, 2, 2))),
        "spleen": save(tmp_path / "spleen.nii.gz", drawn((1, 1, 1), value=255)),
    }

    reading = label_files.read_regions(paths, LABELS, labelled=("liver", "spleen"), slices_read=(1, 2))

    assert np.argwhere(reading.mask("liver")).tolist() == [[1, 1, 1], [2, 2, 2]]
    assert np.argwhere(reading.mask("spleen")).tolist() == [[1, 1, 1]]
    assert reading.slices_read == (1, 2) and not GRID.differences(label_files.read_regions_grid(paths))


def test_a_label_map_is_no_mask(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", drawn((0, 0, 0)) + drawn((1, 1, 1), value=7))

    with pytest.raises(LabelError, match=r"rater A, liver \(a.nii.gz\): a mask file with several values; .* got 1, 7"):
        label_files.read_regions({"liver": path}, LABELS, where="rater A")


def test_masks_on_different_grids_are_refused_by_voxels_and_by_header(tmp_path: Path) -> None:
    shifted = Geometry(GRID.shape, GRID.affine @ np.array(np.eye(4) + [[0, 0, 0, 1]] * np.array([[1], [0], [0], [0]])))
    nifti.write_labels(tmp_path / "spleen.nii.gz", drawn(), shifted)
    paths = {"liver": save(tmp_path / "liver.nii.gz", drawn()), "spleen": tmp_path / "spleen.nii.gz"}

    for read in (lambda: label_files.read_regions(paths, LABELS), lambda: label_files.read_regions_grid(paths)):
        with pytest.raises(GeometryError, match=r"spleen \(spleen.nii.gz\): .* another grid than the mask of liver"):
            read()


def test_a_reading_without_a_mask_is_refused() -> None:
    with pytest.raises(LabelError, match="no mask"):
        label_files.read_regions({}, LABELS)
