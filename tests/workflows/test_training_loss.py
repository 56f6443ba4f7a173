"""Losses and networks as a recipe names them: regions are learned and reported, faults show before a run is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medseg.errors import ConfigError
from medseg.workflows import predict, train

REGIONS = """loss={name: dice_ce, regions: {
    organs: [liver, spleen, kidney_left, kidney_right, lesion], kidneys: [kidney_left, kidney_right],
    liver_all: [liver, lesion], lesion: [lesion], left: [kidney_left]}}"""


def test_regions_are_learned_reported_and_predicted_as_classes(
    recipe_file: Path, held_out_image: Path, tmp_path: Path
) -> None:
    train(recipe_file, [REGIONS, "training.steps=2"], out=tmp_path / "run")

    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    (scores,) = [row["validation_dice"] for row in rows if "validation_dice" in row]
    assert {"organs", "kidneys", "liver_all", "left", "liver", "lungs"} <= set(scores)
    assert len(predict(tmp_path / "run", held_out_image, tmp_path / "p")) == 1


@pytest.mark.parametrize(
    "overrides, message",
    [
        (
            ["loss={name: dice_focal, regions: {all: [liver, pancreas]}}"],
            r"loss\.regions\.all: no such class.*pancreas",
        ),
        (["loss={name: dice_topk, regions: {all: [liver, spleen]}}"], r"liver and spleen lie in the same regions"),
        (["loss={name: dice_ce_cldice, classes: [aorta]}"], r"loss\.classes: no such structure; expected liver"),
        (["model={name: swin-unetr}", "plan.patch=[32,32,32]"], r"plan\.patch: .*too small for swin-unetr"),
    ],
)
def test_faults_of_loss_and_network_show_before_anything_is_written(
    overrides: list[str], message: str, recipe_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(recipe_file, overrides, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
