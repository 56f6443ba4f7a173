"""One side of `training.py` in a process of its own; told what to do line by line, see `training_sides.py`.

python benchmarks/training_child.py ours --edge EDGE --recipe RECIPE.yaml --out RUN
python benchmarks/training_child.py nnunet --edge EDGE --dataset DATASET --prepare NUMBER --processes 0 2

With `--edge` it begins with steps on one batch; then follows `medseg train`, or nnU-Net's trainer, paused between
steps.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

CHANNELS, CLASSES, BATCH = (8, 16, 32, 64), 8, 2
Answer = Callable[[dict[str, Any]], None]


def answers() -> Answer:
    """Writes JSON lines to the stdout that the process began with; everything else that is printed goes to stderr."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(facts: dict[str, Any]) -> None:
        stream.write(json.dumps(facts) + "\n")
        stream.flush()

    return answer


class Obedience:
    """Counts units of work, and waits for the next order when those of the last one are done.

    The first unit of a phase is done unasked: with it the child says that it is ready.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.begin()

    def begin(self) -> None:
        """A new phase."""
        self.left, self.start, self.ordered = 1, 0.0, False

    def note(self, **facts: Any) -> bool:
        """To be called after each unit; False where the next phase is asked for."""
        self.left -= 1
        if self.left:
            return True
        self.answer({"seconds": time.perf_counter() - self.start} if self.ordered else facts)
        line = sys.stdin.readline()
        if not line:
            sys.exit(0)  # nobody is left who could ask
        order = json.loads(line)
        if order.get("go_on"):
            return False
        if order["threads"]:
            torch.set_num_threads(order["threads"])
        self.left, self.ordered, self.start = order["units"], True, time.perf_counter()
        return True


# ---- the same batch again and again


def peer_network() -> torch.nn.Module:
    """nnU-Net's network with weights that both sides begin with."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    torch.manual_seed(0)
    levels = len(CHANNELS)
    network = PlainConvUNet(
        1, levels, CHANNELS, torch.nn.Conv3d, 3, (1, *(2,) * (levels - 1)), 2, CLASSES, 2, conv_bias=True,
        norm_op=torch.nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"inplace": True}, deep_supervision=True,
    )  # fmt: skip
    network.apply(network.initialize)  # type: ignore[arg-type]
    return network


def sample(edge: int) -> tuple[Tensor, Tensor]:
    """Image (B, 1, X, Y, Z) and labels (B, 1, X, Y, Z) int16: nested bodies under noise."""
    numbers = torch.Generator().manual_seed(1)
    axis = torch.linspace(-1, 1, edge)
    distance = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2).sqrt() / 3**0.5
    labels = (CLASSES * (1 - distance)).long().clamp(0, CLASSES - 1).expand(BATCH, 1, edge, edge, edge)
    image = labels / CLASSES + torch.randn(labels.shape, generator=numbers) / 4
    return image, labels.to(torch.int16).contiguous()


def our_step(edge: int) -> Callable[[], float]:
    """Our loop's step on the batch as our loader gives it; the loss comes back."""
    from medseg.losses.deep_supervision import DeepSupervision
    from medseg.losses.dice_ce import DiceCEConfig, one_hot
    from medseg.models.nnunet_weights import translate
    from medseg.models.unet import UNetConfig
    from medseg.training.loop import TrainingConfig, new_state
    from medseg.training.machine import Machine
    from medseg.training.memory import keep_freed_memory
    from medseg.training.optim import ScheduleConfig, SGDConfig
    from medseg.training.step import Learner

    keep_freed_memory()  # as `medseg train` does
    model = UNetConfig(channels=CHANNELS, deep_supervision=len(CHANNELS) - 2).build(1, CLASSES, (edge, edge, edge))
    with suppress(ImportError):  # without nnU-Net our side is timed alone
        model.load_state_dict(translate(peer_network().state_dict()))
    config = TrainingConfig(steps=100_000, batch=BATCH, optimizer=SGDConfig(), schedule=ScheduleConfig(name="poly"))
    learner = Learner(new_state(model, config), DeepSupervision(DiceCEConfig().build()), config, Machine.of(model))
    image, labels = sample(edge)
    target, weight = one_hot(labels[:, 0].long(), CLASSES)
    batch = {"image": image, "target": target, "weight": weight, "id": ["a", "b"]}
    return lambda: learner.step(batch).loss


def peer_step(edge: int) -> Callable[[], float]:
    """nnU-Net's own `train_step` with its own loss and optimiser, on the batch as its loader gives it."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    levels = len(CHANNELS)
    trainer: Any = SimpleNamespace(
        device=torch.device("cpu"), grad_scaler=None, network=peer_network().train(), is_ddp=False, initial_lr=1e-2,
        weight_decay=3e-5, num_epochs=1000, enable_deep_supervision=True, _do_i_compile=lambda: False,
        label_manager=SimpleNamespace(has_regions=False, ignore_label=None),
        configuration_manager=SimpleNamespace(
            batch_dice=True, pool_op_kernel_sizes=[[1, 1, 1], *([2, 2, 2],) * (levels - 1)]
        ),
    )  # fmt: skip
    trainer._get_deep_supervision_scales = lambda: nnUNetTrainer._get_deep_supervision_scales(trainer)
    trainer.loss = nnUNetTrainer._build_loss(trainer)
    trainer.optimizer, _ = nnUNetTrainer.configure_optimizers(trainer)
    image, labels = sample(edge)
    targets = [labels[:, :, ::step, ::step, ::step].contiguous() for step in (1, 2, 4)[: levels - 1]]
    batch = {"data": image, "target": targets}
    return lambda: float(nnUNetTrainer.train_step(trainer, batch)["loss"])


def steps(side: str, edge: int, obedience: Obedience) -> None:
    """Steps on one batch until the next phase is asked for."""
    logits = first_logits(side, edge)
    step = our_step(edge) if side == "ours" else peer_step(edge)
    threads = torch.get_num_threads()
    while obedience.note(logits=logits, loss=step()):
        pass
    torch.set_num_threads(threads)
    obedience.begin()


def first_logits(side: str, edge: int) -> list[float]:
    """Some of the logits that the untrained network gives, by which both sides are shown to be the same; none without
    nnU-Net."""
    from medseg.models.nnunet_weights import translate
    from medseg.models.unet import UNetConfig

    try:
        network = peer_network()
    except ImportError:
        return []
    if side == "ours":
        ours = UNetConfig(channels=CHANNELS, deep_supervision=len(CHANNELS) - 2).build(1, CLASSES, (edge, edge, edge))
        ours.load_state_dict(translate(network.state_dict()))
        network = ours
    with torch.no_grad():
        found = network.train()(sample(edge)[0])
    return [float(number) for level in found for number in level.flatten()[:: max(1, level.numel() // 8)]]


# ---- training as a whole


def our_loop(recipe: Path, out: Path, obedience: Obedience) -> None:
    """`medseg train`, but for its screen."""
    from medseg.workflows.training import train

    def progress(what: str, done: int, total: int, note: str) -> None:
        if what == "Training":
            obedience.note(note=note)

    train(recipe, out=out, overwrite=True, progress=progress)


def peer_loop(dataset: str, processes: Sequence[int], device: str, obedience: Obedience) -> None:
    """The loop of `run_training`, the threads as `nnUNetv2_train -device cpu` or `cuda` sets them."""
    from training_nnunet import build_trainer

    torch.set_num_threads((os.cpu_count() or 1) if device == "cpu" else 1)
    os.environ["nnUNet_n_proc_DA"] = str(processes[0])  # noqa: SIM112
    trainer = build_trainer(dataset, 100_000, device=device)
    trainer.on_train_start()
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    for count in processes[1:]:
        _iterate(trainer, obedience)
        os.environ["nnUNet_n_proc_DA"] = str(count)  # noqa: SIM112
        trainer.dataloader_train, trainer.dataloader_val = trainer.get_dataloaders()
        obedience.begin()
    _iterate(trainer, obedience)


def _iterate(trainer: Any, obedience: Obedience) -> None:
    while True:
        trainer.train_step(next(trainer.dataloader_train))
        if not obedience.note():
            return


def main() -> None:
    answer = answers()
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=("ours", "nnunet"))
    parser.add_argument("--edge", type=int)
    parser.add_argument("--recipe", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--dataset")
    parser.add_argument("--prepare", type=int, metavar="NUMBER", help="of nnU-Net's data set, to be preprocessed first")
    parser.add_argument("--processes", type=int, nargs="+", default=[0])
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    obedience = Obedience(answer)
    if given.prepare is not None:
        from training_nnunet import preprocess

        preprocess(given.prepare)
    if given.side == "ours":
        import medseg.workflows.training  # noqa: F401 (while the other side starts too)
    if given.edge:
        steps(given.side, given.edge, obedience)
    if given.side == "ours":
        our_loop(given.recipe, given.out, obedience)
    else:
        peer_loop(given.dataset, given.processes, given.device, obedience)


if __name__ == "__main__":
    main()
