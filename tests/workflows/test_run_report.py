"""`RUN/report.html` of a real run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from medseg.errors import FileReadError
from medseg.workflows import report_runs


@pytest.fixture
def run(run_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


def test_a_training_ends_with_a_page_that_names_its_cases_and_structures(run_folder: Path) -> None:
    page = (run_folder / "report.html").read_text(encoding="utf-8")

    assert "Finished after 4 of 4 steps" in page
    assert "contains patient images" in page
    assert all(f">{name}<" in page for name in ("liver", "kidney_left", "bone"))


def test_the_page_is_written_anew_without_images(run: Path) -> None:
    (written,) = report_runs(run, images=False)

    page = written.read_text(encoding="utf-8")
    assert "no images (outlines only)" in page and "data:image/png" not in page


def test_pictures_of_lost_work_are_not_shown(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    kept = [row | ({"step": 2} if "cases" in row else {}) for row in rows]  # the last validation was at step 2
    (run / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))

    (written,) = report_runs(run)

    assert "data:image/png" not in written.read_text(encoding="utf-8")


def test_every_fold_gets_a_page(run: Path, tmp_path: Path) -> None:
    for fold in (0, 1):
        shutil.copytree(run, tmp_path / "cv" / f"fold_{fold}")

    written = report_runs(tmp_path / "cv")

    assert [page.parent.name for page in written] == ["fold_0", "fold_1"]
    assert "Training: cv, fold_1" in written[1].read_text(encoding="utf-8")


def test_the_page_names_no_folder_of_the_data(run: Path, run_folder: Path) -> None:
    (written,) = report_runs(run)

    assert str(run_folder.parent) not in written.read_text(encoding="utf-8")


def test_a_damaged_run_has_no_page(run: Path) -> None:
    (run / "log.jsonl").write_bytes(b"\xff")

    with pytest.raises(FileReadError, match=r"run: the run is damaged: log\.jsonl cannot be read"):
        report_runs(run)


def test_a_run_without_pictures_has_a_page(run: Path) -> None:
    (run / "pictures.npz").unlink()

    (written,) = report_runs(run)

    assert ">no images</span>" in written.read_text(encoding="utf-8")
