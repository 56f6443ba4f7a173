"""What `check` looks at, in which order, and the page that it writes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import FileReadError, OutputExistsError
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.io import nifti
from medseg.io.manifest import CaseEntry, Dataset, ImageOptions, LabelFile, read_dataset, write_dataset
from medseg.workflows import check

TEST_DATA = Path(__file__).parents[1] / "data" / "dicom"
NODULE = LabelSet({"background": 0, "nodule": 1, "core": 2})


@pytest.fixture
def lidc(tmp_path: Path) -> Dataset:
    """A piece of a real CT as DICOM, with two readers of made-up outlines: one label map, one pair of masks."""
    shutil.copytree(TEST_DATA / "lidc", tmp_path / "image")
    grid = nifti.read_geometry(TEST_DATA / "lidc.nii.gz")
    labels = np.zeros(grid.shape, np.uint8)
    labels[12:24, 8:22, 3:12] = 1
    nifti.write_labels(tmp_path / "A.nii.gz", labels, grid)
    nifti.write_labels(tmp_path / "nodule.nii.gz", labels, grid)
    labels[13:23, 8:20], labels[:12], labels[23:] = labels[13:23, 8:20] * 2, 0, 0
    nifti.write_labels(tmp_path / "core.nii.gz", (labels == 2).astype(np.uint8), grid)
    masks = LabelFile(masks={"nodule": tmp_path / "nodule.nii.gz", "core": tmp_path / "core.nii.gz"})
    raters = {"A": LabelFile(tmp_path / "A.nii.gz", labelled=("nodule",)), "B": masks}
    return Dataset(tmp_path, NODULE, ("A", "B"), (CaseEntry("c1", tmp_path / "image", raters),))


@pytest.mark.parametrize("deep", [False, True])
def test_a_series_is_told_by_its_kernel_and_grid(lidc: Dataset, deep: bool) -> None:
    report = check(lidc, deep=deep)

    row = report.cases[0]
    assert report.problems == ()
    assert (row.shape, row.orientation) == ((40, 32, 16), "LPS")
    assert row.spacing_mm == pytest.approx((0.703125, 0.703125, 2.5))
    assert row.field_of_view_mm == pytest.approx((28.125, 22.5, 40.0))
    assert (row.hu_range is not None) == deep


def test_regions_that_overlap_are_told_each_by_itself(lidc: Dataset) -> None:
    row = check(lidc, deep=True).cases[0]

    voxel_ml = 0.703125**2 * 2.5 / 1000
    assert row.volumes_ml["A"] == {"nodule": pytest.approx(12 * 14 * 9 * voxel_ml)}  # the core was not looked for
    assert row.volumes_ml["B"]["nodule"] == pytest.approx(12 * 14 * 9 * voxel_ml)
    assert row.volumes_ml["B"]["core"] == pytest.approx(10 * 12 * 9 * voxel_ml)
    assert row.components["B"] == {"nodule": 1, "core": 1}


def test_the_report_says_what_was_looked_at(lidc: Dataset) -> None:
    missing = replace(lidc.cases[0], id="c2", image=lidc.root / "absent.nii.gz")
    two = replace(lidc, cases=(*lidc.cases, missing))

    assert check(lidc).looked_at == "headers of 1 case; --deep also reads the voxels"
    assert check(lidc, deep=True).looked_at == "voxels of 1 case"
    assert check(two, deep=True).looked_at == "voxels of 2 cases, 1 of them without a readable image"


def test_an_option_that_would_accept_a_series_is_given_as_a_key_of_the_data_set(lidc: Dataset) -> None:
    uneven = CaseEntry("c1", TEST_DATA / "ge_tilt", {})
    accepted = replace(uneven, image_options=ImageOptions(gaps="resample"))

    (refused,) = check(replace(lidc, raters=("A",), cases=(*lidc.cases, replace(uneven, id="c2")))).problems[:1]
    report = check(Dataset(lidc.root, NODULE, (), (accepted,)))

    assert refused.severity == "error" and "7.38 mm" in refused.message
    assert "`gaps: resample` under `image:`" in refused.do and "--" not in refused.do
    assert report.ok and report.cases[0].tilt_deg == pytest.approx(18.5, abs=0.1) and len(report.cases[0].invented) > 20
    assert any("the gantry was tilted by 18.5 degrees" in problem.message for problem in report.problems)
    assert any("were invented between acquired ones" in problem.message for problem in report.problems)


@pytest.mark.parametrize("jobs", [1, 3])
def test_cases_stay_in_order_and_progress_is_told_once_for_each(phantoms: Path, jobs: int) -> None:
    steps: list[tuple[int, int]] = []

    report = check(phantoms, deep=True, jobs=jobs, on_case=lambda done, total: steps.append((done, total)))

    assert [row.case for row in report.cases] == [case.id for case in read_dataset(phantoms).cases]
    assert steps == [(n, 5) for n in range(1, 6)]


def test_the_page_shows_every_case_when_voxels_are_read(phantoms: Path, tmp_path: Path) -> None:
    check(phantoms, deep=True, html=tmp_path / "check.html")

    page = (tmp_path / "check.html").read_text(encoding="utf-8")
    assert "contains patient images" in page and page.count('<div class="views">') == 5
    assert str(phantoms) not in page and str(tmp_path) not in page


@pytest.mark.parametrize("options", [{"deep": True, "images": False}, {"deep": False}])
def test_a_page_without_images_holds_none(phantoms: Path, tmp_path: Path, options: dict[str, bool]) -> None:
    check(phantoms, html=tmp_path / "check.html", **options)

    page = (tmp_path / "check.html").read_text(encoding="utf-8")
    assert ">no images<" in page and "data:image" not in page


def test_a_page_replaces_an_older_one_and_nothing_else(phantoms: Path, tmp_path: Path) -> None:
    check(phantoms, html=tmp_path / "check.html")
    check(phantoms, html=tmp_path / "check.html")
    other = tmp_path / "thesis.html"
    other.write_text("<p>years of work</p>", encoding="utf-8")

    with pytest.raises(OutputExistsError, match=r"thesis.html: the page would replace"):
        check(phantoms, html=other)
    with pytest.raises(OutputExistsError):
        check(phantoms, html=tmp_path)

    assert other.read_text(encoding="utf-8") == "<p>years of work</p>"


def test_a_fault_of_the_data_set_file_is_a_problem_and_has_a_page(phantoms: Path, tmp_path: Path) -> None:
    broken = tmp_path / "dataset.yaml"
    broken.write_text(
        (phantoms / "dataset.yaml").read_text(encoding="utf-8").replace("raters:", "ratters:", 1), "utf-8"
    )

    report = check(broken, html=tmp_path / "check.html")

    assert not report.ok and "ratters" in report.problems[0].message
    assert "ratters" in (tmp_path / "check.html").read_text(encoding="utf-8")


def test_no_data_set_leaves_no_page(tmp_path: Path) -> None:
    with pytest.raises(FileReadError):
        check(tmp_path / "absent", html=tmp_path / "check.html")

    assert list(tmp_path.iterdir()) == []


def test_a_written_data_set_checks_like_the_one_in_memory(lidc: Dataset) -> None:
    write_dataset(lidc)

    assert check(lidc.root, deep=True) == check(lidc, deep=True)


def test_labels_of_a_flipped_grid_are_not_drawn_on_the_page(lidc: Dataset, tmp_path: Path) -> None:
    labels, grid = nifti.read_label_values(lidc.root / "A.nii.gz")
    nifti.write_labels(lidc.root / "A.nii.gz", labels, Geometry(grid.shape, np.diag([-1.0, 1, 1, 1]) @ grid.affine))

    report = check(lidc, deep=True, html=tmp_path / "check.html")

    page = (tmp_path / "check.html").read_text(encoding="utf-8")
    assert not report.ok and "<title>A: nodule</title>" not in page and "<title>B: nodule</title>" in page
