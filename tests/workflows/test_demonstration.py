"""`demo` on coarse phantoms and with a few steps: all files, all numbers, and numbers that add up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from medseg.errors import OutputExistsError
from medseg.phantom.anatomy import LABELS, ORGANS
from medseg.workflows import demonstration

SMALL = (
    "plan.spacing_mm=[12, 12, 14]",
    "plan.patch=[16, 16, 16]",
    "folds.count=2",
    "model={name: unet, channels: [4, 4, 8], deep_supervision: 1}",
    "training.steps=3",
    "training.schedule.warmup_steps=0",
)


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folder of a demo, and what it returned."""
    out = tmp_path_factory.mktemp("demo") / "demo-run"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(demonstration, "phantom", partial(demonstration.phantom, spacing_mm=12.0))
        summary = demonstration.demo(out, seed=2, train_cases=3, test_cases=2, overrides=SMALL)
    yield out, summary


def test_every_file_of_the_road_is_there(demo_run: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = demo_run

    for name in ("data/dataset.yaml", "data/experts.json", "run/checkpoints/best.safetensors", "run/curves.svg",
                 "predictions/c004.nii.gz", "predictions/c005.nii.gz", "evaluation/evaluation.json",
                 "evaluation/scores.csv", "agreement/agreement.json", "summary.json"):  # fmt: skip
        assert (folder / name).is_file(), name
    assert (folder / "report.html").read_text() == (folder / "agreement" / "report.html").read_text()
    assert len(list((folder / "predictions").glob("*.nii.gz"))) == 2  # the test cases and no other


def test_the_summary_is_strict_json_with_the_documented_keys(demo_run: tuple[Path, dict[str, Any]]) -> None:
    folder, returned = demo_run

    stored = json.loads((folder / "summary.json").read_text(), parse_constant=pytest.fail)

    assert stored == returned
    assert set(stored) >= {"mean_dice", "baseline_mean_dice", "dice", "verdict", "seconds", "peak_memory_mb"}
    assert list(stored["dice"]) == [name for name in LABELS if name != "background"]
    assert stored["seconds"] > 0
    assert stored["peak_memory_mb"] > 100


def test_the_means_are_those_of_the_four_organs_alone(demo_run: tuple[Path, dict[str, Any]]) -> None:
    _, summary = demo_run

    assert summary["mean_dice"] == pytest.approx(sum(summary["dice"][organ] for organ in ORGANS) / 4)
    baseline = summary["baseline_dice"]
    assert sorted(baseline) == sorted(ORGANS)
    assert summary["baseline_mean_dice"] == pytest.approx(sum(baseline.values()) / 4)


def test_dice_is_that_of_the_evaluation_against_the_truth(demo_run: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = demo_run
    evaluation = json.loads((folder / "evaluation" / "evaluation.json").read_text())

    assert summary["dice"] == {label: raters["truth"]["dice"]["mean"] for label, raters in evaluation["labels"].items()}


def test_with_two_test_patients_the_verdict_only_describes(demo_run: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = demo_run
    agreement = json.loads((folder / "agreement" / "agreement.json").read_text())

    assert summary["verdict"] == "descriptive"
    assert summary["sentence"] == agreement["verdict"]["predictions"]["sentence"]


def test_the_report_opens_offline_and_shows_the_baseline(demo_run: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = demo_run
    page = (folder / "report.html").read_text()

    assert "best HU window" in page
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_a_second_demo_is_refused_without_overwrite(demo_run: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = demo_run

    with pytest.raises(OutputExistsError, match=r"demo-run: .*--overwrite"):
        demonstration.demo(folder)
    assert json.loads((folder / "summary.json").read_text()) == summary


def test_the_demos_recipe_is_found_in_a_checkout() -> None:
    assert demonstration.demo_recipe().is_file()
