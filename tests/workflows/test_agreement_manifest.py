"""`agree` on a manifest: an external truth, and a model that learned from one of the readers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medseg.io.nifti import write_labels
from medseg.workflows.agreement import agree
from tests.workflows.test_agreement import GRID, ball

FAST: dict[str, Any] = {"draws": 200}
ROLES = {"A": "human", "B": "human", "net": "model", "phantom": "truth"}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> tuple[dict[str, Any], str]:
    root, rng = tmp_path_factory.mktemp("manifest"), np.random.default_rng(0)
    lines = ["case,rater,path,role,trained_on"]
    for k in range(4):
        for name, role in ROLES.items():
            labels = ball(7.0, rng)
            if name == "phantom" and k == 3:
                labels[:] = 0  # there is nothing: everybody is wrong
            write_labels(root / name / f"c{k}.nii.gz", labels, GRID)
            lines.append(f"c{k},{name},{name}/c{k}.nii.gz,{role},{'A' if name == 'net' else ''}")
    (root / "m.csv").write_text("\n".join(lines) + "\n")
    told: dict[str, Any] = {"empty_policy": "exclude", "surface": "voxel"}
    result = agree(manifest=root / "m.csv", out=root / "out", margin=0.1, **told, **FAST)
    return result, (root / "out/report.html").read_text()


def test_everybody_is_held_against_a_truth_of_the_manifest(found):
    truth = found[0]["labels"]["1"]["truth"]
    assert set(truth) == {"A", "B", "net"} and truth["net"]["dice"]["n"] == 4
    assert found[0]["labels"]["1"]["models"]["net"]["truth"]["presence"]["net"]["false_positives"] == 1


def test_a_distance_to_nothing_can_be_left_out_of_means(found):
    """The image's diagonal is 38 mm: with it the mean could not be below 9 mm."""
    distances = found[0]["labels"]["1"]["truth"]["net"]["hd95"]
    assert distances["n"] == 3 and distances["mean"] < 4 and found[0]["config"]["empty_policy"] == "exclude"


def test_readers_from_whom_the_model_learned_stand_apart(found):
    result, html = found
    block = result["labels"]["1"]["models"]["net"]["trained_on"]
    assert block["learned_from"]["raters"] == ["A"] and block["others"]["raters"] == ["B"]
    assert result["design"]["trained_on"] == {"net": ["A"]}
    assert any("net learned from outlines of A" in reason for reason in result["verdict"]["net"]["reasons"])
    assert "Readers from whom the model learned" in html


def test_the_page_prints_rules_references_and_planning(found):
    result, html = found
    assert result["config"]["interval_rule"] in html and "Planning" in html and "Schuirmann" in html


def test_nsd_by_border_voxels_says_so(found):
    result, _ = found
    assert result["config"]["surface"] == result["config"]["surface_definition"]["surface"] == "voxel"
    assert "numbers of border voxels" in result["config"]["surface_rule"]
