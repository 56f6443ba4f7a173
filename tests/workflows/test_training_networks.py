"""Every network trains from the command line on phantoms and predicts: small ones, and slowly the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from medseg.cli import main
from medseg.models.registry import ModelConfig
from medseg.training.logbook import read_log

CUBE, LONG = "[32, 32, 32]", "[64, 32, 32]"
SMALL = {  # the line of the recipe, and the patch
    "unet": ("{name: unet, channels: [8, 16, 16], deep_supervision: 1}", CUBE),
    "resenc-m": ("{name: resenc-m, channels: [8, 16, 16], blocks: [1, 2, 2], deep_supervision: 1}", CUBE),
    "resenc-l": ("{name: resenc-l, channels: [8, 16, 16], blocks: [1, 2, 2], deep_supervision: 1}", CUBE),
    "mednext": ("{name: mednext, size: S, filters: 8}", CUBE),
    "segresnet": ("{name: segresnet, filters: 8}", CUBE),
    "unetr": ("{name: unetr, hidden: 48, mlp: 64, heads: 4, features: 8}", CUBE),
    "swin-unetr": ("{name: swin-unetr, features: 12, depths: [1, 1, 1, 1], window: 4}", LONG),
}
NAMES = [
    name for model in get_args(get_args(ModelConfig)[0]) for name in get_args(model.model_fields["name"].annotation)
]
FAST = ("unet", "segresnet")


def command(*words: str) -> int | None:
    with pytest.raises(SystemExit) as end:
        main(list(words))
    return end.value.code if isinstance(end.value.code, int | None) else 1


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in NAMES])
def test_a_network_is_one_line_of_the_recipe(name: str, recipe_file: Path, phantoms: Path, tmp_path: Path) -> None:
    line, patch = SMALL[name]
    run, predictions = tmp_path / "run", tmp_path / "predictions"

    trained = command("train", str(recipe_file), f"model={line}", f"plan.patch={patch}", "--out", str(run))
    predicted = command("predict", str(run), str(phantoms), "--split", "test", "--out", str(predictions))

    assert (trained or 0, predicted or 0) == (0, 0)
    assert [row["step"] for row in read_log(run / "log.jsonl") if "loss" in row] == [1, 2, 3, 4]
    assert [path.name for path in predictions.glob("*.nii.gz")] == ["c005.nii.gz"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_network_trains_with_its_defaults(name: str, recipe_file: Path, tmp_path: Path) -> None:
    ended = command("train", str(recipe_file), f"model={{name: {name}}}", f"plan.patch={LONG}", "training.steps=2",
                    "folds.fold=all", "--out", str(tmp_path / "run"))  # fmt: skip

    assert (ended or 0) == 0 and (tmp_path / "run" / "checkpoints" / "last.safetensors").exists()
