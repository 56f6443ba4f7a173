"""Run folders: what they hold, what they never hold, and how a damaged one is refused."""

from __future__ import annotations

import json
import platform
import re
import shutil
from pathlib import Path

import monai
import pytest
import yaml

from medseg.errors import CheckpointError, ConfigError, FileReadError, MedsegError
from medseg.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from medseg.workflows.model_export import export_model
from medseg.workflows.run import Predictor, load_predictor, open_run


@pytest.fixture
def own_run(run_folder: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


def test_a_run_holds_all_that_is_needed_to_repeat_it(run_folder: Path) -> None:
    files = {path.relative_to(run_folder).as_posix() for path in run_folder.rglob("*") if path.is_file()}

    assert files >= {"recipe.yaml", "run.json", "folds.json", "log.jsonl", "curves.svg"}
    assert files >= {f"checkpoints/{which}.{kind}" for which in ("best", "last") for kind in ("safetensors", "json")}
    facts = json.loads((run_folder / "run.json").read_text())
    assert facts["seed"] == 0
    assert facts["versions"]["monai"] == monai.__version__
    assert set(facts["versions"]) == {"python", "medseg", "torch", "monai", "numpy"}


def test_checkpoints_and_run_json_name_no_path_machine_or_case(run_folder: Path, phantoms: Path) -> None:
    secrets = [str(phantoms.parent), f"{Path.home()}/", "c001", "c002"]

    for path in [run_folder / "run.json", *(run_folder / "checkpoints").iterdir()]:
        content = path.read_bytes()
        assert [secret for secret in secrets if secret.encode() in content] == [], path.name
        if path.suffix == ".json":  # among weights a short machine name would come up by chance
            assert platform.node() not in re.findall(r"[\w.-]+", content.decode()), path.name


def test_an_opened_run_knows_recipe_plan_and_labels(run_folder: Path) -> None:
    run = open_run(run_folder)

    assert run.recipe.training.steps == 4
    assert run.plan.patch == (16, 16, 16)
    assert run.labels.names[:2] == ("background", "liver")
    assert run.labels.mirror_pairs == (("kidney_left", "kidney_right"),)


def test_a_folder_that_is_no_run_is_refused_by_its_name_alone(tmp_path: Path) -> None:
    with pytest.raises(FileReadError, match=rf"^{tmp_path.name}: not a run folder; expected a folder that `medseg tr"):
        open_run(tmp_path)


@pytest.mark.parametrize("damage", ["{", "[]", '{"labels": {"background": 0}}'])
def test_a_damaged_run_json_is_refused(own_run: Path, damage: str) -> None:
    (own_run / "run.json").write_text(damage)

    with pytest.raises(FileReadError, match=r"run\.json cannot be read"):
        open_run(own_run)


def rewrite(run: Path, **facts: object) -> None:
    path = run / "checkpoints" / "best.safetensors"
    old = read_checkpoint(path)
    write_checkpoint(path, Checkpoint(old.tensors, old.facts | facts))


def test_a_checkpoint_of_other_labels_is_refused(own_run: Path) -> None:
    rewrite(own_run, labels=["background", "tumour"])

    with pytest.raises(
        CheckpointError, match=r"best\.safetensors: .*another label set; expected .*liver.*got .*tumour"
    ):
        load_predictor(own_run)


def test_a_checkpoint_of_another_network_is_refused(own_run: Path) -> None:
    recipe = own_run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("[4, 4, 8]", "[4, 8, 8]"))

    with pytest.raises(CheckpointError, match="belongs to another network"):
        load_predictor(own_run)


def test_a_corrupted_checkpoint_is_refused_and_the_other_one_still_works(own_run: Path) -> None:
    best = own_run / "checkpoints" / "best.safetensors"
    content = bytearray(best.read_bytes())
    content[len(content) // 2] ^= 1
    best.write_bytes(content)

    with pytest.raises(CheckpointError, match=r"best\.safetensors: the checkpoint is corrupted"):
        load_predictor(own_run)
    assert len(load_predictor(own_run, which="last").models) == 1


def test_a_missing_checkpoint_is_refused(own_run: Path) -> None:
    (own_run / "checkpoints" / "best.safetensors").unlink()

    with pytest.raises(MedsegError, match="no such checkpoint"):
        load_predictor(own_run)


def test_the_folds_of_a_run_predict_together(own_run: Path, tmp_path: Path) -> None:
    for fold in range(2):
        shutil.copytree(own_run, tmp_path / "folds" / f"fold_{fold}")

    predictor = load_predictor(tmp_path / "folds")

    assert len(predictor.models) == len(predictor.plans) == 2


def test_folds_of_different_spacing_are_not_mixed(own_run: Path, tmp_path: Path) -> None:
    for fold in range(2):
        shutil.copytree(own_run, tmp_path / "folds" / f"fold_{fold}")
    other = tmp_path / "folds" / "fold_1" / "run.json"
    facts = json.loads(other.read_text())
    facts["plan"]["spacing_mm"] = [3, 3, 3]
    other.write_text(json.dumps(facts))

    with pytest.raises(CheckpointError, match="predict together differ in spacing"):
        load_predictor(tmp_path / "folds")


def flipped(run: Path, to: Path, axes: str, swap: str, mirrored: str) -> Path:
    """A copy that says that it was trained with other flips and is asked about other views."""
    copy = Path(shutil.copytree(run, to))
    recipe = copy / "recipe.yaml"
    content = yaml.safe_load(recipe.read_text())
    if axes:
        flip = {"name": "flip", "axes": json.loads(axes), "swap": swap}
        content["transforms"]["steps"].append(flip)
    content["inference"]["mirror_axes"] = json.loads(mirrored)
    recipe.write_text(yaml.safe_dump(content, sort_keys=False))
    return copy


def test_a_run_is_asked_about_no_mirrored_views_that_it_never_learned(own_run: Path, tmp_path: Path) -> None:
    mirrored = flipped(own_run, tmp_path / "mirrored", "[0]", "side", "[0]")

    with pytest.raises(ConfigError, match=r"run, inference.mirror_axes: .* never learned; got 0 \(left/right\)"):
        Predictor.from_run([mirrored, own_run])
    assert Predictor.from_run([own_run, mirrored]).config.mirror_axes == ()


def test_runs_that_exchange_sides_by_different_rules_are_not_mixed(own_run: Path, tmp_path: Path) -> None:
    runs = [flipped(own_run, tmp_path / swap, "[0, 1]", swap, "[0]") for swap in ("side", "chirality")]

    with pytest.raises(ConfigError, match="exchange left and right by different rules; expected side, got chirality"):
        Predictor.from_run(runs)


def test_folds_of_different_views_do_not_become_one_network(own_run: Path, tmp_path: Path) -> None:
    flipped(own_run, tmp_path / "folds" / "fold_0", "[0]", "side", "[0]")
    shutil.copytree(own_run, tmp_path / "folds" / "fold_1")

    with pytest.raises(ConfigError, match=r"fold_1, inference\.mirror_axes"):
        export_model(tmp_path / "folds", tmp_path / "out", format="torch-export")
    assert not (tmp_path / "out").exists()
