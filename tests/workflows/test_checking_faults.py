"""Every fault that a check knows, planted once in sound phantoms: it is found, alone, with a way to mend it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.io import nifti
from medseg.io.manifest import CaseEntry, Dataset, LabelFile, read_dataset
from medseg.report.doctor import CheckReport, Problem
from medseg.workflows import check, phantom

Plant = Callable[[Dataset], Dataset]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine phantoms of about 28 x 23 x 17 voxels, two experts, a truth."""
    folder = tmp_path_factory.mktemp("sound") / "data"
    phantom(folder, cases=9, experts=2, test=2, seed=3, spacing_mm=14.0)
    return folder


@pytest.fixture
def dataset(sound: Path, tmp_path: Path) -> Dataset:
    """A copy that may be spoilt."""
    return read_dataset(shutil.copytree(sound, tmp_path / "data"))


def with_first(dataset: Dataset, first: CaseEntry) -> Dataset:
    return replace(dataset, cases=(first, *dataset.cases[1:]))


def label_path(dataset: Dataset, rater: str = "A") -> Path:
    path = dataset.cases[0].raters[rater].path
    assert path is not None
    return path


def write_image(dataset: Dataset, change: Callable[[Volume], Volume]) -> Dataset:
    path = dataset.cases[0].image
    nifti.write_volume(path, change(nifti.read_volume(path)))
    return dataset


def write_labels(dataset: Dataset, change: Callable[[np.ndarray], np.ndarray], rater: str = "A") -> Dataset:
    path = label_path(dataset, rater)
    labels, geometry = nifti.read_label_values(path)
    nifti.write_labels(path, change(labels), geometry)
    return dataset


def move_labels(dataset: Dataset, matrix: np.ndarray) -> Dataset:
    path = label_path(dataset)
    labels, geometry = nifti.read_label_values(path)
    nifti.write_labels(path, labels, Geometry(geometry.shape, matrix @ geometry.affine))
    return dataset


def flip_stored(dataset: Dataset) -> Dataset:
    path = label_path(dataset)
    labels, geometry = nifti.read_label_values(path)
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = geometry.shape[0] - 1
    nifti.write_labels(path, labels[::-1], Geometry(geometry.shape, geometry.affine @ flip))
    return dataset


def shift(x: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[0, 3] = x
    return matrix


def remove(path: Path, dataset: Dataset) -> Dataset:
    path.unlink()
    return dataset


def copy(source: Path, target: Path, dataset: Dataset) -> Dataset:
    shutil.copy(source, target)
    return dataset


def with_labels_of_another_case(dataset: Dataset) -> Dataset:
    """The second case with the first one's image under another name, and its very label files."""
    first, second, *others = dataset.cases
    image = dataset.root / "other.nii.gz"
    volume = nifti.read_volume(first.image)
    nifti.write_volume(image, Volume(volume.hu[::-1], volume.geometry))
    return replace(dataset, cases=(first, replace(first, id=second.id, image=image), *others))


def with_one_file_for_two(dataset: Dataset) -> Dataset:
    raters = dataset.cases[0].raters
    return with_first(dataset, replace(dataset.cases[0], raters={"A": raters["A"], "B": raters["A"]}))


def with_a_copied_image(dataset: Dataset) -> Dataset:
    """A tenth case whose files are copies of the first one's."""
    first = dataset.cases[0]

    def copied(path: Path) -> Path:
        return Path(shutil.copy(path, path.with_name("c010.nii.gz")))

    raters = {rater: LabelFile(copied(label_path(dataset, rater))) for rater in first.raters}
    return replace(dataset, cases=(*dataset.cases, CaseEntry("c010", copied(first.image), raters, split="train")))


def with_nan(dataset: Dataset) -> Dataset:
    image = nib.nifti1.load(dataset.cases[0].image)
    voxels = np.asanyarray(image.dataobj).astype(np.float32)
    voxels[3, 3, 3] = np.nan
    nib.save(nib.Nifti1Image(voxels, image.affine), dataset.cases[0].image)
    return dataset


def with_patient_of_a_test_case(dataset: Dataset) -> Dataset:
    test_case = dataset.select("test")[0]
    return with_first(dataset, replace(dataset.cases[0], patient=test_case.patient))


def in_two_groups(dataset: Dataset) -> Dataset:
    first, second, *others = dataset.cases
    cases = (replace(first, patient="p", group="site_a"), replace(second, patient="p", group="site_b"), *others)
    return replace(dataset, cases=cases)


def with_thick_slices(dataset: Dataset) -> Dataset:
    """The first case with its slices three times as far apart as they are."""
    entry = dataset.cases[0]
    files = [entry.image, *(path for file in entry.raters.values() for path in file.paths)]
    for path in files:
        image = nib.nifti1.load(path)
        stretched = nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine @ np.diag([1.0, 1, 3, 1]))
        nib.save(stretched, path)
    return with_first(dataset, replace(entry, truth=None))


def with_few_slices(dataset: Dataset) -> Dataset:
    entry = dataset.cases[0]
    for path in [entry.image, *(path for file in entry.raters.values() for path in file.paths)]:
        image = nib.nifti1.load(path)
        nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj)[:, :, 6:12], image.affine), path)
    return with_first(dataset, replace(entry, truth=None))


def with_filled_slices(dataset: Dataset) -> Dataset:
    entry = dataset.cases[0]
    filled = replace(entry.raters["A"], filled={"liver": (4, 6)})
    return with_first(dataset, replace(entry, raters={**entry.raters, "A": filled}))


def with_invented_slices(dataset: Dataset) -> Dataset:
    entry = dataset.cases[0]
    return with_first(dataset, replace(entry, image_options=replace(entry.image_options, invented=(2, 3, 4))))


def outside_the_body(labels: np.ndarray) -> np.ndarray:
    labels[labels == 2] = 0
    labels[:3, :3, 4:9] = 2
    return labels


HEADER_FAULTS: dict[str, tuple[Plant, str, str, str]] = {
    "shifted labels": (lambda d: move_labels(d, shift(5)), "error", "moved by 5 mm", "on the image's own grid"),
    "LPS for RAS": (lambda d: move_labels(d, np.diag([-1.0, -1, 1, 1])), "error", "or as if LPS", "axis order"),
    "flipped": (flip_stored, "error", "the same voxels with other axis order or flips", "no voxel has to be resampled"),
    "image missing": (lambda d: remove(d.cases[0].image, d), "error", "image images/c001.nii.gz: no such", "the path"),
    "label missing": (lambda d: remove(label_path(d), d), "error", "labels/A/c001.nii.gz): no such", "the path"),
    "two splits": (with_patient_of_a_test_case, "error", "in several splits: test, train", "the same `split:`"),
    "two groups": (in_two_groups, "error", "in several groups: site_a, site_b", "the same `group:`"),
    "one image twice": (lambda d: replace(d, cases=(*d.cases, replace(d.cases[0], id="c010"))), "error",
                        "cases c001, c010 name the same image file", "Keep one of them"),
    "one label file twice": (with_labels_of_another_case, "error", "cases c001, c002 name the same label file", "own"),
    "one file for two raters": (with_one_file_for_two, "warning", "raters A and B name the same file", "a copy"),
    "a rater without cases": (lambda d: replace(d, raters=("A", "B", "C")), "warning", "rater C has read no case",
                              "`raters:`"),
    "thick slices": (with_thick_slices, "warning", "the spacing along Z is", "the scanner's protocol"),
    "few slices": (with_few_slices, "warning", "few slices", "whole series was exported"),
    "filled slices": (with_filled_slices, "warning", "rater A: nobody drew liver on 2 slices (Z = 4, 6)", "look at"),
    "invented slices": (with_invented_slices, "warning", "3 slices (Z = 2, 3, 4) of", "Find the missing slices"),
    "odd split": (lambda d: with_first(d, replace(d.cases[0], split="trian")), "warning", "'trian'", "Correct it"),
}  # fmt: skip
VOXEL_FAULTS: dict[str, tuple[Plant, str, str, str]] = {
    "unknown values": (lambda d: write_labels(d, lambda labels: np.where(labels == 5, 99, labels).astype(np.uint8)
                                              | (labels == 1) * np.uint8(96)), "error", "label values", "`labels:`"),
    "empty labels": (lambda d: write_labels(d, lambda labels: labels * 0), "error", "nothing is labelled", "take the"),
    "NaN": (with_nan, "error", "1 of ", "-1000"),
    "stored values": (lambda d: write_image(d, lambda v: Volume(v.hu + 1024, v.geometry)), "error", "no HU", "-1024"),
    "normalised": (lambda d: write_image(d, lambda v: Volume(v.hu / 1000, v.geometry)), "error", "no HU", "normalised"),
    "copied image": (with_a_copied_image, "error", "cases c001, c010 hold the same image, voxel by voxel", "Keep one"),
    "copied reading": (lambda d: copy(label_path(d, "A"), label_path(d, "B"), d), "warning", "A and B are identical",
                       "a copy"),
    "flipped file": (lambda d: write_labels(d, lambda labels: labels[:, :, ::-1], "B"), "warning",
                     "raters A and B look mirrored along Z: Dice 0.", "turned over"),
    "swapped sides": (lambda d: write_labels(d, lambda labels: np.array([0, 1, 2, 4, 3, 5, 6, 7], np.uint8)[labels]),
                      "warning", "kidney_left lies", "swapped"),
    "outside the body": (lambda d: write_labels(d, outside_the_body), "warning", "of spleen lie outside the body",
                         "another image"),
    "tiny liver": (lambda d: write_labels(d, lambda labels: np.where(
        (labels == 1) & (np.cumsum(labels == 1).reshape(labels.shape) > 6), 0, labels).astype(np.uint8)), "warning",
        "rater A: liver has", "Look at the case"),
}  # fmt: skip


def the_problem(report: CheckReport) -> Problem:
    assert len(report.problems) == 1, report.problems
    return report.problems[0]


@pytest.mark.parametrize("deep", [False, True])
def test_sound_phantoms_have_no_problem(dataset: Dataset, deep: bool) -> None:
    assert check(dataset, deep=deep).problems == ()


@pytest.mark.parametrize("fault", HEADER_FAULTS)
def test_what_headers_tell_is_found_alone_without_reading_a_voxel(dataset: Dataset, fault: str) -> None:
    plant, severity, message, do = HEADER_FAULTS[fault]

    problem = the_problem(check(plant(dataset)))

    assert problem.severity == severity
    assert message in problem.message and do in problem.do


@pytest.mark.parametrize("fault", VOXEL_FAULTS)
def test_what_only_voxels_tell_is_found_alone_when_they_are_read(dataset: Dataset, fault: str) -> None:
    plant, severity, message, do = VOXEL_FAULTS[fault]
    spoilt = plant(dataset)

    problem = the_problem(check(spoilt, deep=True))

    assert problem.severity == severity
    assert message in problem.message and do in problem.do
    assert check(spoilt).problems == ()
