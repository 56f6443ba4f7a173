"""dataset.yaml: what it may say, how its faults are named, and reading cases through it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import (
    ConfigError,
    DicomError,
    FileReadError,
    GeometryError,
    InputError,
    LabelError,
    UsageError,
    VoxelError,
)
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.regions import RegionMap
from medseg.imaging.volume import Volume
from medseg.io import nifti
from medseg.io.manifest import (
    FILE_NAME,
    CaseEntry,
    Dataset,
    ImageOptions,
    LabelFile,
    read_case,
    read_dataset,
    read_image,
    read_image_grid,
    read_reading,
    read_reading_grid,
    read_truth,
    write_dataset,
)
from tests.support.nifti_files import tilted

WriteSeries = Callable[..., Path]


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / FILE_NAME
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


# ---- the file


def test_every_key_of_the_file_arrives(dataset_folder: Path) -> None:
    dataset = read_dataset(dataset_folder)

    first, second = dataset.cases
    assert dataset.labels == LabelSet(
        {"background": 0, "liver": 1, "kidney_left": 2, "kidney_right": 3}, (("kidney_left", "kidney_right"),), 255
    )
    assert dataset.raters == ("A", "B") and not dataset.anonymous
    assert (first.id, first.patient, first.group, first.split) == ("c001", "p001", "site_a", "train")
    assert first.image == dataset_folder / "images" / "c001.nii.gz"
    assert first.raters["B"] == LabelFile(dataset_folder / "labels" / "B" / "c001.nii.gz", ("liver",), (1, 3))
    assert (second.patient, second.raters, second.truth, second.split) == ("c002", {}, None, None)


def test_the_folder_and_the_file_mean_the_same(dataset_folder: Path) -> None:
    assert read_dataset(dataset_folder) == read_dataset(dataset_folder / FILE_NAME)


def test_a_written_data_set_reads_back_equal(dataset_folder: Path) -> None:
    dataset = read_dataset(dataset_folder)

    assert write_dataset(dataset) == dataset_folder / FILE_NAME
    assert read_dataset(dataset_folder) == dataset
    assert str(dataset_folder) not in (dataset_folder / FILE_NAME).read_text(encoding="utf-8")


RICH = """\
schema: medseg.dataset/1
labels: {background: 0, liver: 1, tumour: 2}
raters: [A, B]
cases:
  - id: c1
    image: {path: dicom, series: series_0123abcd, tilt: keep, gaps: resample, invented: [3, 4]}
    raters:
      A:
        masks: {liver: A/liver.nii.gz, tumour: A/tumour.nrrd}
        labelled: [liver, tumour]
        slices_read: [0, 9]
        source: {format: rtstruct, label: "plan 1", rois: [Liver, GTV], version: 2}
        filled: {liver: [5, 6]}
        invented: [3, 4]
      B: {path: B/c1.mha, source: {format: itk}}
  - {id: c2, image: {path: c2.nii.gz, nan_hu: -1000}}
"""


@pytest.fixture
def rich(tmp_path: Path) -> Dataset:
    """A data set that says all that one may say; none of its files is there."""
    (tmp_path / FILE_NAME).write_text(RICH, encoding="utf-8")
    return read_dataset(tmp_path)


def test_images_may_say_how_they_are_read(rich: Dataset) -> None:
    first, second = rich.cases

    assert first.image == rich.root / "dicom"
    assert first.image_options == ImageOptions("series_0123abcd", "keep", "resample", invented=(3, 4))
    assert first.image_options.reading == {"series": "series_0123abcd", "tilt": "keep", "gaps": "resample"}
    assert second.image_options == ImageOptions(nan_hu=-1000)


def test_raters_may_have_a_mask_for_each_structure_and_say_where_it_is_from(rich: Dataset) -> None:
    drawn = rich.entry("c1").raters["A"]

    assert drawn.masks == {"liver": rich.root / "A/liver.nii.gz", "tumour": rich.root / "A/tumour.nrrd"}
    assert drawn.path is None and drawn.paths == tuple(drawn.masks.values())
    assert drawn.source == {"format": "rtstruct", "label": "plan 1", "rois": ["Liver", "GTV"], "version": 2}
    assert drawn.filled == {"liver": (5, 6)} and drawn.invented == (3, 4)
    assert drawn.labelled == ("liver", "tumour") and drawn.slices_read == (0, 9)


def test_every_key_survives_being_written(rich: Dataset) -> None:
    write_dataset(rich)

    assert read_dataset(rich.root) == rich
    text = (rich.root / FILE_NAME).read_text(encoding="utf-8")
    assert str(rich.root) not in text and "A/liver.nii.gz" in text


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("liver: A/liver.nii.gz, ", "livr: a.nii.gz, ", r"A.masks: unknown label 'livr' \(did you mean 'liver'"),
        ("liver: A/liver.nii.gz, ", "background: a.nii.gz, ", "A.masks: unknown label 'background'"),
        ("filled: {liver", "filled: {livr", r"A.filled: unknown label 'livr' \(did you mean 'liver'"),
        ("[5, 6]", "[-5, 6]", "filled.liver.0: wrong value"),
        (
            "        masks:",
            "        path: a.nii\n        masks:",
            "raters.A: not either `path`, one label map, or `masks`",
        ),
        ("{path: B/c1.mha, source: {format: itk}}", "{labelled: [liver]}", "raters.B: not either `path`"),
        ("version: 2", "version: {major: 2}", "A.source: 'version' is no word, no number and no list of those"),
        (
            "tilt: keep",
            "tilt: ignore",
            "image.tilt: wrong value; expected 'resample', 'keep' or 'refuse', got 'ignore'",
        ),
        ("nan_hu: -1000", "nan_hu: .nan", "image.nan_hu: wrong value"),
        ("series: series", "serie: series", r"image.serie: unknown key \(did you mean 'series'"),
    ],
)
def test_a_fault_in_the_longer_forms_is_named(rich: Dataset, old: str, new: str, fault: str) -> None:
    edit(rich.root, old, new)

    with pytest.raises(ConfigError, match=fault):
        read_dataset(rich.root)


def test_paths_may_leave_the_folder_and_are_shown_by_name_only(dataset_folder: Path, tmp_path: Path) -> None:
    edit(dataset_folder, "image: images/c002.nii.gz", "image: ../elsewhere/c002.nii.gz")
    dataset = read_dataset(dataset_folder)

    assert dataset.entry("c002").image == tmp_path.parent / "elsewhere" / "c002.nii.gz"
    assert dataset.shown(dataset.entry("c001").image) == "images/c001.nii.gz"
    with pytest.raises(FileReadError, match=r"^case c002, image c002.nii.gz: no such file") as caught:
        read_image(dataset, dataset.entry("c002"))
    assert "elsewhere" not in str(caught.value)


def test_absolute_paths_are_followed(dataset_folder: Path) -> None:
    edit(dataset_folder, "images/c002.nii.gz", str(dataset_folder / "images" / "c002.nii.gz"))

    dataset = read_dataset(dataset_folder)

    assert read_image(dataset, dataset.entry("c002")).hu.shape == (6, 5, 4)


def test_select_gives_the_cases_of_one_split_in_order(dataset_folder: Path) -> None:
    dataset = read_dataset(dataset_folder)

    assert [case.id for case in dataset.select("train")] == ["c001"]
    assert [case.id for case in dataset.select(None)] == ["c001", "c002"]
    assert dataset.select("test") == ()


def test_an_unknown_case_is_refused_with_the_nearest(dataset_folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no case 'c01'.*did you mean 'c0"):
        read_dataset(dataset_folder).entry("c01")


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("patient: p001", "patint: p001", r"dataset.yaml:7:16: cases.0.patint: unknown key \(did you mean 'patient'"),
        ("schema: medseg.dataset/1", "schema: other/2", "dataset.yaml:1:1: schema: wrong value"),
        ("schema:", "shema:", r"shema: unknown key \(did you mean 'schema'\?\)"),
        ("ignore: 255", "ignore: none", "dataset.yaml:4:1: ignore: wrong value; expected a valid integer, got 'none'"),
        ("id: c002", "id: c001", "dataset.yaml:9:6: cases.1.id: case 'c001' is listed twice"),
        ("id: c002", "id: ../c002", "cases.1.id: wrong value"),
        ("id: c002", "id: 2", "cases.1.id: wrong value; expected a valid string, got 2"),
        ("B: {path", "C: {path", "cases.0.raters.C: a rater that `raters:` does not list; it lists A, B"),
        ("raters: [A, B]", "raters: [A, B, A]", "dataset.yaml:5:1: raters: rater 'A' is listed 2 times"),
        ("[liver]", "[livr]", r"cases.0.raters.B.labelled: unknown label 'livr' \(did you mean 'liver'"),
        ("[1, 3]", "[3, 1]", "slices_read: not .first, last. with 0 <= first <= last"),
        ("background: 0", "air: 0", "dataset.yaml:2:1: labels: the labels have no background"),
        ("liver: 1", "liver: 2", "labels: a label value is used twice"),
        ("liver: 1", "liver: x", "labels.liver: wrong value; expected a valid integer"),
        ("[[kidney_left, kidney_right]]", "[[kidney_left, kidney]]", "mirror_pairs names an unknown label 'kidney'"),
        ("image: images/c002.nii.gz", "group: a", "cases.1.image: missing"),
    ],
)
def test_a_fault_names_file_line_and_key(dataset_folder: Path, old: str, new: str, fault: str) -> None:
    edit(dataset_folder, old, new)

    with pytest.raises(ConfigError, match=fault):
        read_dataset(dataset_folder)


def test_a_folder_without_dataset_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileReadError, match=r"dataset.yaml: no such file"):
        read_dataset(tmp_path)


def test_an_empty_list_of_cases_is_refused(dataset_folder: Path) -> None:
    path = dataset_folder / FILE_NAME
    path.write_text(path.read_text(encoding="utf-8").split("cases:")[0] + "cases: []\n", encoding="utf-8")

    with pytest.raises(ConfigError, match="at least one case"):
        read_dataset(dataset_folder)


# ---- reading through it


def test_a_case_holds_image_readings_and_truth(dataset_folder: Path) -> None:
    dataset = read_dataset(dataset_folder)

    case = read_case(dataset, dataset.entry("c001"))

    assert tuple(case.raters) == ("A", "B") and case.truth is not None
    assert case.raters["A"].mask("liver").sum() == 18
    assert case.raters["B"].labelled == ("liver",) and case.raters["B"].slices_read == (1, 3)
    assert (case.patient, case.group) == ("p001", "site_a")


def test_a_case_without_rater_can_be_predicted_but_not_read_for_training(dataset_folder: Path) -> None:
    dataset = read_dataset(dataset_folder)
    entry = dataset.entry("c002")

    assert read_image(dataset, entry).hu.shape == (6, 5, 4)
    assert read_truth(dataset, entry) is None
    with pytest.raises(LabelError, match="case c002: no rater has read this case"):
        read_case(dataset, entry)
    with pytest.raises(LabelError, match="case c002: rater 'A' has no file for this case"):
        read_reading(dataset, entry, "A")


def spoilt(grid: Geometry, fault: str) -> Geometry:
    affine, shape = grid.affine.copy(), grid.shape
    if fault == "shape":
        shape = (shape[0], shape[1], shape[2] + 1)
    elif fault == "spacing":
        affine[:3, 2] *= 1.5
    elif fault == "origin":
        affine[1, 3] += 0.5
    else:
        affine[:3, 0] *= -1
    return Geometry(shape, affine)


@pytest.mark.parametrize("fault", ["shape", "spacing", "origin", "orientation"])
def test_labels_on_another_grid_are_refused_and_the_difference_named(
    dataset_folder: Path, grid: Geometry, fault: str
) -> None:
    other = spoilt(grid, fault)
    nifti.write_labels(dataset_folder / "labels" / "B" / "c001.nii.gz", np.zeros(other.shape, np.uint8), other)
    dataset = read_dataset(dataset_folder)

    with pytest.raises(GeometryError, match=f"case c001, rater B: .*another grid.*{fault} ") as caught:
        read_case(dataset, dataset.entry("c001"))
    others = {"shape", "spacing", "origin", "orientation"} - {fault}
    assert not any(f"{word} " in caught.value.got for word in others)


def test_a_missing_label_file_names_case_rater_and_file(dataset_folder: Path) -> None:
    (dataset_folder / "labels" / "B" / "c001.nii.gz").unlink()
    dataset = read_dataset(dataset_folder)

    with pytest.raises(FileReadError, match=r"case c001, rater B \(labels/B/c001.nii.gz\): no such file"):
        read_case(dataset, dataset.entry("c001"))


def test_unknown_label_values_name_case_and_rater(dataset_folder: Path, grid: Geometry) -> None:
    nifti.write_labels(dataset_folder / "labels" / "A" / "c001.nii.gz", np.full(grid.shape, 9, np.uint8), grid)
    dataset = read_dataset(dataset_folder)

    with pytest.raises(LabelError, match=r"case c001, rater A .*got 9.*Add them under `labels:`"):
        read_case(dataset, dataset.entry("c001"))


def test_nan_voxels_name_the_case(dataset_folder: Path, grid: Geometry) -> None:
    nib.save(nib.Nifti1Image(np.full(grid.shape, np.nan), grid.affine), dataset_folder / "images" / "c001.nii.gz")
    dataset = read_dataset(dataset_folder)

    with pytest.raises(VoxelError, match=r"case c001, image images/c001.nii.gz: 120 of 120 voxels"):
        read_case(dataset, dataset.entry("c001"))


def test_the_image_of_a_case_may_be_a_dicom_series(tmp_path: Path, write_series: WriteSeries) -> None:
    write_series([0, 2, 4])
    dataset = Dataset(tmp_path, LabelSet({"background": 0}), (), (CaseEntry("c1", tmp_path / "series", {}),))

    assert read_image(dataset, dataset.entry("c1")).geometry.spacing_mm[2] == 2
    write_series([0, 2, 4], name="series", Modality="MR")
    with pytest.raises(DicomError, match=r"case c1, image series, .*series_[0-9a-f]{8}: not a CT series"):
        read_image(dataset, dataset.entry("c1"))


def test_an_image_of_no_known_kind_is_refused(tmp_path: Path, volume: Volume) -> None:
    (tmp_path / "scan.png").write_bytes(b"png")
    dataset = Dataset(tmp_path, LabelSet({"background": 0}), (), (CaseEntry("c1", tmp_path / "scan.png", {}),))

    with pytest.raises(FileReadError, match=r"case c1, image scan.png: neither a NIfTI, NRRD or MetaImage file nor a"):
        read_image(dataset, dataset.entry("c1"))


# ---- regions, grids and options


def write_masks(folder: Path, grid: Geometry) -> dict[str, Path]:
    """A liver of the voxels X >= 1, a left kidney of X >= 3 inside it."""
    paths = {}
    for name, first in (("liver", 1), ("kidney_left", 3)):
        mask = np.zeros(grid.shape, np.uint8)
        mask[first:] = 1
        paths[name] = folder / f"{name}.nii.gz"
        nifti.write_labels(paths[name], mask, grid)
    return paths


def test_masks_that_overlap_are_read_as_regions(dataset_folder: Path, grid: Geometry) -> None:
    write_masks(dataset_folder / "labels" / "A", grid)
    edit(dataset_folder, "A: labels/A/c001.nii.gz",
         "A: {masks: {liver: labels/A/liver.nii.gz, kidney_left: labels/A/kidney_left.nii.gz}}")  # fmt: skip
    dataset = read_dataset(dataset_folder)

    case = read_case(dataset, dataset.entry("c001"))

    regions = case.raters["A"]
    assert isinstance(regions, RegionMap)
    assert regions.mask("liver").sum() == 5 * 20 and regions.mask("kidney_left").sum() == 3 * 20
    assert not regions.was_read("kidney_right")


def test_a_mask_that_is_missing_is_named_with_its_structure(dataset_folder: Path, grid: Geometry) -> None:
    write_masks(dataset_folder / "labels" / "A", grid)["liver"].unlink()
    edit(dataset_folder, "A: labels/A/c001.nii.gz", "A: {masks: {liver: labels/A/liver.nii.gz}}")
    dataset = read_dataset(dataset_folder)

    with pytest.raises(FileReadError, match=r"case c001, rater A, liver \(liver.nii.gz\): no such file"):
        read_reading(dataset, dataset.entry("c001"), "A")


def test_grids_are_read_by_their_headers_alone(dataset_folder: Path, grid: Geometry) -> None:
    paths = write_masks(dataset_folder / "labels" / "A", grid)
    image, labels = dataset_folder / "images" / "c001.nii.gz", dataset_folder / "labels" / "B" / "c001.nii.gz"
    edit(dataset_folder, "A: labels/A/c001.nii.gz", "A: {masks: {liver: labels/A/liver.nii.gz}}")
    for path in (image, labels, paths["liver"]):
        path.write_bytes(path.read_bytes()[:-12])
    dataset = read_dataset(dataset_folder)
    entry = dataset.entry("c001")

    for found in (read_image_grid(dataset, entry), *(read_reading_grid(dataset, entry, name) for name in "AB")):
        assert not grid.differences(found)


def test_options_of_another_kind_of_image_are_refused(dataset_folder: Path) -> None:
    for option in ("series: series_0123abcd", "gaps: resample", "tilt: resample"):
        folder_text = (dataset_folder / FILE_NAME).read_text(encoding="utf-8")
        edit(dataset_folder, "image: images/c002.nii.gz", f"image: {{path: images/c002.nii.gz, {option}}}")
        dataset = read_dataset(dataset_folder)
        for read in (read_image, read_image_grid):
            with pytest.raises(ConfigError, match=f"case c002, image images/c002.nii.gz: `{option}` means nothing"):
                read(dataset, dataset.entry("c002"))
        (dataset_folder / FILE_NAME).write_text(folder_text, encoding="utf-8")


def test_a_tilt_that_was_kept_is_read_with_its_labels_when_the_data_set_says_so(dataset_folder: Path) -> None:
    sheared = Geometry((6, 5, 4), tilted(18.5).astype(np.float32))
    nifti.write_volume(dataset_folder / "images" / "c001.nii.gz", Volume(np.zeros((6, 5, 4), np.float32), sheared))
    for place in ("labels/A", "labels/B", "truth"):
        nifti.write_labels(dataset_folder / place / "c001.nii.gz", np.ones((6, 5, 4), np.uint8), sheared)
    dataset = read_dataset(dataset_folder)
    with pytest.raises(GeometryError, match=r"case c001, image images/c001.nii.gz: the axes are sheared"):
        read_case(dataset, dataset.entry("c001"))

    edit(dataset_folder, "image: images/c001.nii.gz", "image: {path: images/c001.nii.gz, tilt: keep}")
    dataset = read_dataset(dataset_folder)

    case = read_case(dataset, dataset.entry("c001"))
    assert np.array_equal(case.volume.geometry.affine, sheared.affine)
    assert not sheared.differences(read_reading_grid(dataset, dataset.entry("c001"), "A"))


def test_undefined_voxels_become_air_when_the_data_set_says_so(dataset_folder: Path, grid: Geometry) -> None:
    hu = np.full(grid.shape, 40, np.float32)
    hu[0] = np.nan
    nib.save(nib.Nifti1Image(hu, grid.affine), dataset_folder / "images" / "c002.nii.gz")
    edit(dataset_folder, "image: images/c002.nii.gz", "image: {path: images/c002.nii.gz, nan_hu: -1000}")
    dataset = read_dataset(dataset_folder)

    assert (read_image(dataset, dataset.entry("c002")).hu[0] == -1000).all()
    assert not grid.differences(read_image_grid(dataset, dataset.entry("c002")))


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_outside_the_data_set_is_not_named(dataset_folder: Path, tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "archive" / "Doe_Jane"
    edit(dataset_folder, "images/c001.nii.gz", "../archive/Doe_Jane")
    if there:
        folder.mkdir(parents=True)
        (folder / "notes.dcm").write_bytes(bytes(128) + b"DICM")
    dataset = read_dataset(dataset_folder)

    with pytest.raises(InputError, match="case c001, image a folder outside the data set: ") as refusal:
        read_image(dataset, dataset.cases[0])
    assert "Doe" not in str(refusal.value)
