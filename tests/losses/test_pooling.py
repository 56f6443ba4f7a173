"""Losses in two processes that share a batch: value and gradient are those of the whole batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from medseg.losses.boundary import BoundaryConfig
from medseg.losses.cl_dice import ClDiceConfig
from medseg.losses.deep_supervision import DeepSupervision
from medseg.losses.dice_ce import DiceCEConfig, DiceFocalConfig, DiceTopKConfig
from medseg.losses.pooling import gathered, pooled

LOSSES: dict[str, Any] = {
    "dice_ce": DiceCEConfig(),
    "dice_ce of samples": DiceCEConfig(batch_dice=False),
    "dice_topk": DiceTopKConfig(share=0.2),
    "dice_focal": DiceFocalConfig(),
    "dice_ce_boundary": BoundaryConfig(),
    "dice_ce_cldice": ClDiceConfig(iterations=1),
}


def batch() -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Two outputs, target and weight of four patches; structures and voxels that count are not spread evenly."""
    numbers = torch.Generator().manual_seed(5)
    outputs = [torch.randn(4, 3, 8, 8, 8, generator=numbers), torch.randn(4, 3, 4, 4, 4, generator=numbers)]
    labels = torch.randint(0, 3, (4, 8, 8, 8), generator=numbers)
    labels[0] = 0
    labels[1] = labels[1].clamp(max=1)
    target = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    weight = torch.ones(4, 1, 8, 8, 8)
    weight[3, :, :5] = 0
    return outputs, target, weight


def value_and_slope(config: Any, places: slice) -> tuple[float, list[torch.Tensor]]:
    """Loss of some of the patches, and its slope at their logits."""
    outputs, target, weight = batch()
    mine = [logits[places].clone().requires_grad_() for logits in outputs]
    value = DeepSupervision(config.build())(mine, target[places], weight[places])
    value.backward()
    return float(value.detach()), [logits.grad for logits in mine if logits.grad is not None]


def test_in_a_single_process_nothing_is_pooled() -> None:
    sums = torch.ones(3, requires_grad=True)

    assert pooled(sums) is sums
    assert torch.equal(gathered(sums), sums)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By loss, what the two processes found: value and slope of each."""
    folder = tmp_path_factory.mktemp("pooling")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__]
    done = subprocess.run([*launch, str(folder)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {rank: torch.load(folder / f"{rank}.pt", weights_only=True) for rank in ("0", "1")}


@pytest.mark.parametrize("name", LOSSES)
def test_two_processes_see_the_loss_of_the_whole_batch(shared: dict[str, Any], name: str) -> None:
    value, slopes = value_and_slope(LOSSES[name], slice(None))

    for rank in ("0", "1"):
        assert shared[rank][name]["value"] == pytest.approx(value, rel=1e-5)
    for level, slope in enumerate(slopes):
        # DDP averages the gradients of two processes, in which the other's patches have none.
        together = torch.cat([shared[rank][name]["slopes"][level] for rank in ("0", "1")]) / 2
        torch.testing.assert_close(together, slope, rtol=1e-4, atol=1e-8)


def main(folder: Path) -> None:
    """One of two processes: the loss of its half of the batch."""
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    found = {}
    for name, config in LOSSES.items():
        value, slopes = value_and_slope(config, slice(2 * rank, 2 * rank + 2))
        found[name] = {"value": value, "slopes": slopes}
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
