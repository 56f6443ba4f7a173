"""The loss over several resolutions: weights, coarse targets, ignored voxels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from medseg.losses.deep_supervision import DeepSupervision, block_means
from medseg.losses.dice_ce import DiceCEConfig, one_hot


class Recorder(nn.Module):
    """Keeps what it was asked and answers with the mean of the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        self.seen.append((target, weight))
        return logits.mean()


def test_the_weights_halve_from_level_to_level_and_sum_to_one() -> None:
    target, weight = one_hot(torch.zeros(1, 8, 8, 8, dtype=torch.long), 2)
    outputs = [torch.full((1, 2, n, n, n), level) for n, level in ((8, 7.0), (4, 70.0), (2, 700.0))]

    total = DeepSupervision(Recorder())(outputs, target, weight)

    assert float(total) == pytest.approx(7 * 4 / 7 + 70 * 2 / 7 + 700 * 1 / 7)


def test_one_output_is_weighed_by_one() -> None:
    target, weight = one_hot(torch.zeros(1, 4, 4, 4, dtype=torch.long), 2)

    assert float(DeepSupervision(Recorder())(torch.full((1, 2, 4, 4, 4), 3.0), target, weight)) == 3


def test_coarse_targets_are_the_shares_of_their_blocks() -> None:
    labels = torch.zeros(1, 4, 4, 4, dtype=torch.long)
    labels[0, 0, 0, 0] = 1  # one voxel of eight
    recorder = Recorder()

    DeepSupervision(recorder)([torch.zeros(1, 2, 4, 4, 4), torch.zeros(1, 2, 2, 2, 2)], *one_hot(labels, 2))

    coarse, weight = recorder.seen[1]
    assert coarse[0, 1, 0, 0, 0] == pytest.approx(1 / 8)
    assert coarse[0, 1].sum() == pytest.approx(1 / 8)
    assert torch.allclose(coarse.sum(1), torch.ones(1, 2, 2, 2))
    assert weight.flatten().tolist() == [1] * 8


def test_a_block_averages_only_the_voxels_that_count_and_one_without_any_is_ignored() -> None:
    labels = torch.full((1, 4, 2, 2), -1)
    labels[0, 0, 0, 0], labels[0, 0, 0, 1] = 1, 0  # two of eight voxels are known, one of them is the structure
    recorder = Recorder()

    DeepSupervision(recorder)([torch.zeros(1, 2, 4, 2, 2), torch.zeros(1, 2, 2, 1, 1)], *one_hot(labels, 2))

    coarse, weight = recorder.seen[1]
    assert coarse[0, :, 0, 0, 0].tolist() == pytest.approx([0.5, 0.5])
    assert weight.flatten().tolist() == [1, 0]


def test_perfect_outputs_at_all_levels_have_no_dice_loss() -> None:
    labels = torch.zeros(1, 4, 4, 4, dtype=torch.long)
    labels[0, :2] = 1
    target, weight = one_hot(labels, 2)
    coarse = nn.functional.avg_pool3d(target, 2)

    loss = DeepSupervision(DiceCEConfig(ce_weight=0).build())([target * 60, coarse * 60], target, weight)

    assert float(loss) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("shape", [(4, 4, 4), (2, 4, 8), (8, 8, 8), (3, 4, 5)])
def test_block_means_are_those_of_area_interpolation(shape: tuple[int, int, int]) -> None:
    image = torch.rand(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(1))

    torch.testing.assert_close(block_means(image, shape), interpolate(image, size=shape, mode="area"))
