"""`init`: what is taken over from a run, a file and nnU-Net, what stays random, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from medseg.errors import CheckpointError, FileReadError, UsageError
from medseg.training.checkpoint import read_checkpoint
from medseg.workflows import train
from medseg.workflows.run import Run, open_run
from medseg.workflows.training_init import begin_with, read_weights

NOTHING = "training.steps=1"


def tensors(run: Path, part: str = "model") -> dict[str, torch.Tensor]:
    return read_checkpoint(run / "checkpoints" / "best.safetensors").part(part)


def with_init(run: Run, source: str | Path, **changes: Any) -> Run:
    recipe = run.recipe.model_copy(update={"init": str(source), **changes})
    return Run(run.folder, recipe, run.plan, run.labels, run.raters)


@pytest.fixture
def other_labels(phantoms: Path, tmp_path: Path) -> Path:
    """The data set with the lesion under another name."""
    data = Path(shutil.copytree(phantoms, tmp_path / "other"))
    manifest = data / "dataset.yaml"
    manifest.write_text(manifest.read_text().replace("lesion:", "metastasis:"))
    return data


def test_a_run_begins_with_the_weights_of_another(run_folder: Path) -> None:
    run = with_init(open_run(run_folder), run_folder)
    model = run.build_model()

    beginning = begin_with(run, model, ())

    assert beginning is not None and beginning.facts["random"] == []
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in tensors(run_folder).items())


def test_the_head_stays_random_for_other_classes_and_is_named(
    run_folder: Path, recipe_file: Path, other_labels: Path, tmp_path: Path
) -> None:
    said: list[str] = []

    train(recipe_file, [f"data={other_labels.as_posix()}", NOTHING], init=str(run_folder), out=tmp_path / "run",
          say=said.append)  # fmt: skip

    (random,) = [line for line in said if line.startswith("init: random")]
    assert random == "init: random as without it: decoder.heads.0, decoder.heads.1 (for other classes)."


def test_run_json_tells_where_the_weights_are_from_without_a_path(
    run_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    train(recipe_file, [NOTHING], init=str(run_folder), out=tmp_path / "run")

    text = (tmp_path / "run" / "run.json").read_text()
    begun = json.loads(text)["training"]["init"]
    assert (begun["kind"], begun["random"], len(begun["sha256"])) == ("run", [], 64)
    assert str(run_folder) not in text


def test_a_cases_id_that_the_weights_have_seen_is_said(run_folder: Path) -> None:
    run = with_init(open_run(run_folder), run_folder)

    weights = read_weights(str(run_folder), run.recipe, ("c001", "c999"))

    assert "init: 1 validation cases have ids of cases that the weights have seen (c001)" in weights.remarks[0]


def test_averaged_weights_are_taken_where_there_are_any(recipe_file: Path, tmp_path: Path) -> None:
    train(recipe_file, [NOTHING, "training.ema=0.5"], out=tmp_path / "run")

    weights = read_weights(str(tmp_path / "run"), open_run(tmp_path / "run").recipe)

    averaged = tensors(tmp_path / "run", "ema")
    assert averaged and all(torch.equal(weights.tensors[name], tensor) for name, tensor in averaged.items())


def test_of_a_run_of_folds_the_same_fold_is_taken(run_folder: Path, tmp_path: Path) -> None:
    for fold in (0, 1):
        shutil.copytree(run_folder, tmp_path / "folds" / f"fold_{fold}")
    recipe = open_run(run_folder).recipe

    assert read_weights(str(tmp_path / "folds"), recipe).name == "best weights of the run fold_0"
    with pytest.raises(UsageError, match=r"a run of several folds.*got fold_0, fold_1\. Give folds/fold_0"):
        everybody = recipe.model_copy(update={"folds": recipe.folds.model_copy(update={"fold": "all"})})
        read_weights(str(tmp_path / "folds"), everybody)


def test_a_plain_file_of_tensors_is_taken_and_its_classes_are_said_to_be_unknown(
    run_folder: Path, tmp_path: Path
) -> None:
    save_file({f"module.{name}": tensor for name, tensor in tensors(run_folder).items()}, tmp_path / "w.safetensors")
    run = with_init(open_run(run_folder), tmp_path / "w.safetensors")

    beginning = begin_with(run, run.build_model(), ())

    assert beginning is not None and beginning.facts["kind"] == "safetensors"
    assert any("does not say for which classes" in sentence for sentence in beginning.sentences)


def test_another_network_is_refused_before_a_folder_is_written(
    run_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    old = Path(shutil.copytree(run_folder, tmp_path / "old"))
    wider = "model={name: unet, channels: [8, 8, 16], deep_supervision: 1}"

    with pytest.raises(CheckpointError, match=r"init: no layer.*channels \(4, 4, 8\) against \(8, 8, 16\)"):
        train(recipe_file, [wider], init=str(run_folder), out=old, overwrite=True)
    assert tensors(old).keys() == tensors(run_folder).keys()


@pytest.mark.parametrize(
    ("name", "content", "error", "expected"),
    [
        ("w.safetensors", b"no tensors", CheckpointError, r"^init w\.safetensors: the file is no safetensors file"),
        ("w.pth", b"", UsageError, r"^init w\.pth: a file that may hold more than tensors"),
        ("else.yaml", b"", FileReadError, r"^init else\.yaml: not a run folder.*nnunet:DIR"),
    ],
    ids=["damaged", "pickle", "else"],
)
def test_what_cannot_be_read_is_refused_by_its_name(
    run_folder: Path, tmp_path: Path, name: str, content: bytes, error: Any, expected: str
) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(error, match=expected):
        read_weights(str(tmp_path / name), open_run(run_folder).recipe)


def test_a_checkpoint_that_was_altered_is_refused(run_folder: Path, tmp_path: Path) -> None:
    content = bytearray((run_folder / "checkpoints" / "best.safetensors").read_bytes())
    content[-5] ^= 1
    (tmp_path / "w.safetensors").write_bytes(content)

    with pytest.raises(CheckpointError, match=r"corrupted.*does not match its checksum"):
        read_weights(str(tmp_path / "w.safetensors"), open_run(run_folder).recipe)


def test_a_resumed_run_needs_its_initial_weights_no_more(run_folder: Path, recipe_file: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(run_folder, tmp_path / "source"))
    train(recipe_file, init=str(source), out=tmp_path / "run")
    before = tensors(tmp_path / "run")
    shutil.rmtree(source)

    train(recipe_file, init=str(source), out=tmp_path / "run", resume=True)

    assert all(torch.equal(tensors(tmp_path / "run")[name], tensor) for name, tensor in before.items())


# ---- nnU-Net's own network


def nnunet_results(folder: Path, network: nn.Module, labels: dict[str, int]) -> Path:
    """A results folder with the network's weights, for axes Z, Y, X."""
    shape = {
        "features_per_stage": [4, 4, 8], "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]], "n_conv_per_stage": [2, 2, 2], "n_conv_per_stage_decoder": [2, 2],
    }  # fmt: skip
    settings = {"architecture": {"network_class_name": "x.PlainConvUNet", "arch_kwargs": shape}, "spacing": [5, 1, 1]}
    folder.joinpath("fold_0").mkdir(parents=True)
    checkpoint = {"network_weights": network.state_dict(), "init_args": {"configuration": "3d_fullres"}}
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
    plans = {"transpose_forward": [0, 1, 2], "configurations": {"3d_fullres": settings}}
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    return folder


@pytest.fixture
def nnunet() -> nn.Module:
    unet = pytest.importorskip(
        "dynamic_network_architectures.architectures.unet", reason="comes with nnU-Net, in the extra [bench]"
    )
    return unet.PlainConvUNet(
        1, 3, (4, 4, 8), nn.Conv3d, [(1, 3, 3), (3, 3, 3), (3, 3, 3)], [(1, 1, 1), (1, 2, 2), (2, 2, 2)], (2, 2, 2), 3,
        (2, 2), conv_bias=True, norm_op=nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU, deep_supervision=False,
    )  # fmt: skip


def as_nnunet(run: Run, source: Path) -> Run:
    """The run with nnU-Net's network of X, Y, Z."""
    from medseg.models.unet import UNetConfig

    model = UNetConfig(channels=(4, 4, 8), strides=((2, 2, 1), (2, 2, 2)), kernels=((3, 3, 1), (3, 3, 3), (3, 3, 3)),
                       deep_supervision=0)  # fmt: skip
    return with_init(run, f"nnunet:{source}", model=model)


def test_nnunets_own_network_gives_the_same_logits_on_turned_axes(
    nnunet: nn.Module, run_folder: Path, tmp_path: Path
) -> None:
    with torch.no_grad():
        for weight in nnunet.parameters():
            weight.copy_(torch.randn(weight.shape))
    plain = open_run(run_folder)
    labels = type(plain.labels)({"background": 0, "b": 1, "c": 2})
    results = nnunet_results(tmp_path / "results", nnunet, {"background": 0, "b": 1, "c": 2})
    run = as_nnunet(Run(run_folder, plain.recipe, plain.plan, labels), results)
    model = run.build_model().eval()

    beginning = begin_with(run, model, ())

    image = torch.randn(1, 1, 16, 16, 8)  # X, Y, Z
    with torch.no_grad():
        theirs = nnunet.eval()(image.permute(0, 1, 4, 3, 2)).permute(0, 1, 4, 3, 2)
        torch.testing.assert_close(model(image), theirs, rtol=1e-4, atol=1e-4)
    assert beginning is not None and beginning.facts["kind"] == "nnunet" and not beginning.facts["random"]


def test_what_differs_from_nnunets_network_is_said_with_the_override_that_mends_it(
    nnunet: nn.Module, run_folder: Path, tmp_path: Path
) -> None:
    results = nnunet_results(tmp_path / "results", nnunet, {"background": 0, "b": 1, "c": 2})
    run = with_init(open_run(run_folder), f"nnunet:{results}")

    beginning = begin_with(run, run.build_model(), ())

    assert beginning is not None
    told = beginning.sentences[0]
    assert "strides 2x2x1, 2x2x2 against 2x2x2, 2x2x2" in told and "'model={name: unet, channels: [4, 4, 8]" in told
    assert "decoder.heads.0" in beginning.facts["random"]  # other classes
