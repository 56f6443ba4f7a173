"""nnU-Net's results folders: read without unpickling, kernels brought to X, Y, Z, the network named."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medseg.errors import CheckpointError, FileReadError
from medseg.models.nnunet_files import as_override, differences, read_nnunet
from medseg.models.unet import ResEncConfig, UNetConfig

UNET = "dynamic_network_architectures.architectures.unet."
# nnU-Net's axes are Z, Y, X: slices are thick, so the first stride leaves Z alone
ARCHITECTURE = {
    "network_class_name": UNET + "PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 3,
        "features_per_stage": [4, 8, 8],
        "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        "n_conv_per_stage": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2],
    },
}
OURS = UNetConfig(
    channels=(4, 8, 8),
    strides=((2, 2, 1), (2, 2, 2)),
    kernels=((3, 3, 1), (3, 3, 3), (3, 3, 3)),
    stem_stride=(1, 1, 1),
    deep_supervision=1,
)
FOLDER = "nnUNetTrainer__nnUNetPlans__3d_fullres"
LABELS = {"background": 0, "tumour": 1, "liver": 2, "ignore": 3}


def weights() -> dict[str, torch.Tensor]:
    """A first kernel whose voxels tell where they are: 100 z + 10 y + x."""
    z, y, x = torch.meshgrid(torch.arange(1), torch.arange(3), torch.arange(3), indexing="ij")
    return {
        "encoder.stages.0.0.convs.0.conv.weight": (100 * z + 10 * y + x).float().expand(4, 1, 1, 3, 3).clone(),
        "encoder.stages.0.0.convs.0.norm.weight": torch.ones(4),
    }


def write_results(folder: Path, *, fold: str = "fold_0", name: str = "checkpoint_final.pth", **plans: Any) -> Path:
    """What nnU-Net's trainer leaves: numpy scalars in the log, a device among the arguments."""
    settings = {"spacing": [5.0, 0.8, 0.7], "architecture": ARCHITECTURE}
    made = {"transpose_forward": [0, 1, 2], "configurations": {"3d_fullres": settings}, **plans}
    checkpoint = {
        "network_weights": weights(),
        "optimizer_state": {"state": {}, "param_groups": []},
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.5)], "train_losses": [np.float32(0.1)], "all": np.zeros(2)},
        "_best_ema": np.float64(0.4),
        "init_args": {"configuration": "3d_fullres", "fold": 0, "device": torch.device("cuda")},
        "trainer_name": "nnUNetTrainer",
    }
    (folder / fold).mkdir(parents=True)
    torch.save(checkpoint, folder / fold / name)
    (folder / "plans.json").write_text(json.dumps(made))
    (folder / "dataset.json").write_text(json.dumps({"labels": LABELS}))
    return folder


def test_kernels_come_as_x_y_z(tmp_path: Path) -> None:
    found = read_nnunet(write_results(tmp_path / FOLDER))

    kernel = found.tensors["encoder.0.0.0.weight"]
    assert kernel.shape == (4, 1, 3, 3, 1)
    assert kernel[0, 0, 2, 1, 0] == 12  # x 2, y 1


def test_kernels_that_the_plans_turned_come_as_x_y_z(tmp_path: Path) -> None:
    # [2, 0, 1]: the network's axes are X, Z, Y, so its second axis of 3 voxels is Z and the third is Y
    found = read_nnunet(write_results(tmp_path / FOLDER, transpose_forward=[2, 0, 1]))

    kernel = found.tensors["encoder.0.0.0.weight"]
    assert kernel.shape == (4, 1, 1, 3, 3)
    assert kernel[0, 0, 0, 2, 1] == 12  # 10 * (network's second axis: Z = 1) + (third axis: Y = 2)


def test_the_network_spacing_and_classes_are_those_of_the_plans(tmp_path: Path) -> None:
    found = read_nnunet(write_results(tmp_path / FOLDER))

    assert found.model == OURS
    assert found.spacing_mm == (0.7, 0.8, 5.0)
    assert found.classes == ("background", "tumour", "liver")


def test_plans_of_the_first_format_name_the_same_network(tmp_path: Path) -> None:
    settings = {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 8,
        "conv_kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        "pool_op_kernel_sizes": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        "n_conv_per_stage_encoder": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2],
    }

    found = read_nnunet(write_results(tmp_path / FOLDER, configurations={"3d_fullres": settings}))

    assert found.model == OURS


def test_a_configuration_inherits_what_it_does_not_say(tmp_path: Path) -> None:
    configurations = {
        "3d_fullres": {"inherits_from": "3d_lowres", "spacing": [1, 2, 3]},
        "3d_lowres": {"inherits_from": "3d_fullres", "architecture": ARCHITECTURE},  # and a circle ends
    }

    found = read_nnunet(write_results(tmp_path / FOLDER, configurations=configurations))

    assert found.model == OURS and found.spacing_mm == (3, 2, 1)


@pytest.mark.parametrize(("asked", "taken"), [("all", "fold_all"), (1, "fold_1"), (4, "fold_all")])
def test_of_several_folds_the_one_asked_for_is_taken_else_that_of_all_cases(
    tmp_path: Path, asked: Any, taken: str
) -> None:
    for fold in ("fold_0", "fold_1", "fold_all"):
        write_results(tmp_path / FOLDER, fold=fold)

    assert read_nnunet(tmp_path / FOLDER, asked).file.parent.name == taken


def test_the_folder_of_a_fold_is_enough_and_best_serves_where_final_is_not_there(tmp_path: Path) -> None:
    folder = write_results(tmp_path / FOLDER, name="checkpoint_best.pth")

    assert read_nnunet(folder / "fold_0").file.name == "checkpoint_best.pth"


def test_what_differs_between_two_networks_is_told_in_words() -> None:
    ours = OURS.model_copy(update={"channels": (8, 16, 16), "convolutions": 1})

    assert differences(OURS, ours) == ["channels 4, 8, 8 against 8, 16, 16", "convolutions 2 against 1"]
    assert differences(OURS, ResEncConfig()) == ["the network unet against resenc-m"]
    assert differences(OURS, OURS) == []


def test_the_same_network_is_written_as_an_override_that_a_recipe_reads() -> None:
    from ruamel.yaml.comments import CommentedMap

    from medseg.config import apply_overrides, build_config

    settings = CommentedMap()
    apply_overrides(settings, [as_override(OURS)])

    assert build_config(UNetConfig, settings["model"]) == OURS


# ---- what is refused


class Bomb:
    """Unpickled, it writes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize(
    "wrap",
    [lambda bomb: bomb, lambda bomb: {"network_weights": weights(), "logging": [bomb]}],
    ids=["alone", "in the log"],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(tmp_path: Path, wrap: Any, zipped: bool) -> None:
    folder = write_results(tmp_path / FOLDER)
    checkpoint = folder / "fold_0" / "checkpoint_final.pth"
    torch.save(wrap(Bomb(tmp_path / "ran")), checkpoint, _use_new_zipfile_serialization=zipped)

    with pytest.raises(CheckpointError, match=r"checkpoint_final\.pth: .*more than tensors.*not opened.*safetensors"):
        read_nnunet(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", pickle.dumps([1]), pickle.dumps({"a": 1}), b"\x80\x02"],
                         ids=["empty", "no zip", "list", "mapping", "cut"])  # fmt: skip
def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = write_results(tmp_path / FOLDER)
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(content)

    with pytest.raises(CheckpointError, match=r"^checkpoint_final\.pth: "):
        read_nnunet(folder)


def test_a_checkpoint_cut_short_is_refused(tmp_path: Path) -> None:
    folder = write_results(tmp_path / FOLDER)
    file = folder / "fold_0" / "checkpoint_final.pth"
    file.write_bytes(file.read_bytes()[:-200])

    with pytest.raises(CheckpointError, match=r"^checkpoint_final\.pth: the checkpoint cannot be read"):
        read_nnunet(folder)


def test_a_folder_without_checkpoints_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileReadError, match=r"^nnunet:nowhere: no checkpoint of nnU-Net.*3d_fullres"):
        read_nnunet(tmp_path / "nowhere")


def test_weights_without_plans_are_refused(tmp_path: Path) -> None:
    folder = write_results(tmp_path / FOLDER)
    (folder / "plans.json").unlink()

    with pytest.raises(FileReadError, match=r"^plans\.json: the plans do not describe the network.*3d_fullres"):
        read_nnunet(folder)


def test_a_two_dimensional_network_is_refused(tmp_path: Path) -> None:
    folder = write_results(tmp_path / FOLDER)
    flat = {"network_weights": {"encoder.stages.0.0.convs.0.conv.weight": torch.zeros(4, 1, 3, 3)}}
    torch.save({**flat, "init_args": {"configuration": "3d_fullres"}}, folder / "fold_0" / "checkpoint_final.pth")

    with pytest.raises(CheckpointError, match=r"a 2-D network; expected the configuration 3d_fullres"):
        read_nnunet(folder)


def test_a_network_that_is_no_u_net_is_refused(tmp_path: Path) -> None:
    folder = write_results(tmp_path / FOLDER)
    other = {"network_weights": {"vit.blocks.0.weight": torch.zeros(3)}, "init_args": {"configuration": "3d_fullres"}}
    torch.save(other, folder / "fold_0" / "checkpoint_final.pth")

    with pytest.raises(CheckpointError, match=r"no layer of a U-Net of nnU-Net.*PlainConvUNet"):
        read_nnunet(folder)
