"""nnU-Net's own pipeline on one of `training_dice.py`'s studies, in a process of its own.

    python benchmarks/training_nnunet.py share PLANS.json --patch 48 48 48 --channels 8 16 32 64 --spacing 4 4 4.7
    python benchmarks/training_nnunet.py train DATASET --steps 400 --seed 0 --images IN --out OUT [--no-mirroring]

`share` writes the plans with another network, patch and batch beside nnU-Net's own; all else stays as it planned.
`train` is nnU-Net's trainer with fewer iterations on all training cases, then its predictor. Both are given nnU-Net's
three folders by its environment variables.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import time
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from medseg.models.unet import UNetConfig
from medseg.preprocessing.topology import find_topology
from medseg.shapes import IntTriple, Triple

CONFIGURATION, SHARED = "3d_fullres", "nnUNetPlans_shared"
STEPS_PER_EPOCH = 25  # its learning rate falls from epoch to epoch; its own 250 would leave 400 steps with two rates


def shared_network(patch: IntTriple, spacing_mm: Triple, channels: Sequence[int]) -> UNetConfig:
    """The network that both sides train: strides and kernels by the rule of both planners, cut to these levels."""
    found = find_topology(patch, spacing_mm, deepest=len(channels) - 1)
    if len(found.kernels) != len(channels):
        raise ValueError(f"{patch} is too small for {len(channels)} levels")
    return UNetConfig(channels=tuple(channels), strides=found.strides, kernels=found.kernels,  # type: ignore[arg-type]
                      deep_supervision=len(channels) - 2)  # fmt: skip


def shared_plans(plans: dict[str, Any], network: UNetConfig, patch: IntTriple, batch: int) -> dict[str, Any]:
    """nnU-Net's plans with this network, patch and batch; its arrays run Z, Y, X."""
    if plans["transpose_forward"] != [0, 1, 2]:
        raise ValueError("nnU-Net exchanges axes of this data set; the shared network is written for Z, Y, X")
    levels = len(network.channels)
    configuration = plans["configurations"][CONFIGURATION]
    configuration |= {"patch_size": list(patch[::-1]), "batch_size": batch}
    configuration["architecture"]["arch_kwargs"] |= {
        "n_stages": levels,
        "features_per_stage": list(network.channels),
        "kernel_sizes": [list(kernel[::-1]) for kernel in network.all_kernels],
        "strides": [[1, 1, 1], *(list(stride[::-1]) for stride in network.all_strides)],
        "n_conv_per_stage": [network.convolutions] * levels,
        "n_conv_per_stage_decoder": [network.convolutions] * (levels - 1),
    }
    return plans | {"plans_name": SHARED, "configurations": {CONFIGURATION: configuration}}


def build_trainer(dataset: str, steps: int, *, mirroring: bool = True, device: str = "cpu") -> Any:
    """nnU-Net's trainer for all training cases; only its length and, if asked, its mirroring are changed.

    Without mirroring it is what nnU-Net calls nnUNetTrainerNoMirroring, its advice where left and right have names.
    """
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import (
        nnUNetTrainerNoMirroring,
    )

    folder = Path(os.environ["nnUNet_preprocessed"]) / dataset  # noqa: SIM112
    plans = json.loads((folder / f"{SHARED}.json").read_text()) | {"continue_training": False}
    described = json.loads((folder / "dataset.json").read_text())
    kind = nnUNetTrainer if mirroring else nnUNetTrainerNoMirroring
    trainer: Any = kind(plans, CONFIGURATION, "all", described, device=torch.device(device))  # type: ignore[arg-type]
    trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = STEPS_PER_EPOCH, 1
    trainer.num_epochs = steps // STEPS_PER_EPOCH
    return trainer


def preprocess(number: int) -> None:
    """What `nnUNetv2_plan_and_preprocess` does, with threads instead of processes that each import nnU-Net."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as steps

    ways, multiprocessing.get_context = (
        multiprocessing.get_context,
        lambda method=None: SimpleNamespace(Pool=ThreadPool),
    )
    try:
        steps.extract_fingerprints([number], num_processes=1)
        steps.preprocess([number], steps.plan_experiments([number]) or "nnUNetPlans", [CONFIGURATION], [1])
    finally:
        multiprocessing.get_context = ways


def train(dataset: str, steps: int, seed: int, *, mirroring: bool) -> Any:
    """The trainer after its training."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (what its loader draws from)
    torch.manual_seed(seed)
    trainer = build_trainer(dataset, steps, mirroring=mirroring)
    trainer.run_training()
    return trainer


def predict(trainer: Any, images: Path, out: Path) -> None:
    """Its predictor on the images of a folder, with its defaults but for mirroring, which neither side does."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), perform_everything_on_device=False,
                                allow_tqdm=False)  # fmt: skip
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    predictor.manual_initialization(trainer.network, trainer.plans_manager, trainer.configuration_manager,
                                    [trainer.network.state_dict()], trainer.dataset_json, type(trainer).__name__,
                                    None)  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    predictor.predict_from_files_sequential(str(images), str(out))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    share = commands.add_parser("share")
    share.add_argument("plans", type=Path)
    share.add_argument("--patch", type=int, nargs=3, required=True, help="along X, Y, Z")
    share.add_argument("--spacing", type=float, nargs=3, required=True, help="mm along X, Y, Z")
    share.add_argument("--channels", type=int, nargs="+", required=True)
    share.add_argument("--batch", type=int, default=2)
    learn = commands.add_parser("train")
    learn.add_argument("dataset")
    learn.add_argument("--steps", type=int, required=True)
    learn.add_argument("--seed", type=int, required=True)
    learn.add_argument("--no-mirroring", action="store_true")
    learn.add_argument("--images", type=Path, required=True)
    learn.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    if given.command == "share":
        network = shared_network(tuple(given.patch), tuple(given.spacing), given.channels)
        plans = shared_plans(json.loads(given.plans.read_text()), network, tuple(given.patch), given.batch)
        given.plans.with_name(f"{SHARED}.json").write_text(json.dumps(plans, indent=1))
        return
    torch.set_num_threads(1)
    start = time.perf_counter()
    trainer = train(given.dataset, given.steps, given.seed, mirroring=not given.no_mirroring)
    trained = time.perf_counter()
    predict(trainer, given.images, given.out)
    seconds = {"train_s": trained - start, "predict_s": time.perf_counter() - trained}
    (given.out / "seconds.json").write_text(json.dumps(seconds))


if __name__ == "__main__":
    main()
