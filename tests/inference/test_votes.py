"""Voxels of each member while tiles overlap: every voxel counts once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medseg.inference.tiles import Tiling, gaussian_weights, lay_tiles
from medseg.inference.votes import Votes

SHAPE, TILE = (21, 17, 30), (8, 8, 12)


def all_tiles(tiling: Tiling) -> list[tuple[int, int, int]]:
    return [first for _, firsts in tiling.layers(0) for first in firsts]


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.7])
def test_an_image_of_one_class_counts_every_voxel_once(overlap: float) -> None:
    tiling = lay_tiles(SHAPE, TILE, overlap)
    votes = Votes(tiling, members=2, classes=3)

    for first in all_tiles(tiling):
        votes.add(torch.tensor([2.0, 1.0])[:, None, None, None].expand(2, *TILE), first)

    assert votes.counts == pytest.approx(np.array([[0, 0, 21 * 17 * 30], [0, 21 * 17 * 30, 0]]), rel=1e-5)


def test_members_whose_tiles_agree_get_the_voxels_of_their_labels() -> None:
    labels = np.random.default_rng(0).integers(0, 4, SHAPE)
    tiling = lay_tiles(SHAPE, TILE, 0.5)
    votes = Votes(tiling, 1, 4)

    for x, y, z in all_tiles(tiling):
        votes.add(torch.from_numpy(labels[None, x : x + 8, y : y + 8, z : z + 12]), (x, y, z))

    assert votes.counts[0] == pytest.approx(np.bincount(labels.ravel()), rel=1e-5)


def test_a_voxel_on_which_tiles_differ_is_shared_by_their_weights() -> None:
    tiling = lay_tiles((12, 8, 12), TILE, 0.5)  # two tiles, at 0 and at 4 along X
    votes = Votes(tiling, 1, 2)

    votes.add(torch.zeros(1, *TILE), (0, 0, 0))
    votes.add(torch.ones(1, *TILE), (4, 0, 0))

    line = gaussian_weights(TILE)[:, 4, 6].astype(float)
    share = line[:4] / (line[:4] + line[4:])  # of the second tile where both lie
    assert votes.counts[0, 1] == pytest.approx((4 + share.sum()) * 8 * 12, rel=1e-5)


def test_tiles_that_are_left_out_have_no_share() -> None:
    tiling = lay_tiles((12, 8, 12), TILE, 0.5)
    needed = tiling.needed.copy()
    needed[1] = False
    votes = Votes(Tiling(tiling.shape, tiling.tile, tiling.starts, needed), 1, 2)

    votes.add(torch.ones(1, *TILE), (0, 0, 0))

    assert votes.counts[0].tolist() == pytest.approx([0, 8 * 8 * 12])


def test_an_image_smaller_than_a_tile_counts_only_its_own_voxels() -> None:
    tiling = lay_tiles((3, 8, 12), TILE, 0.5)
    votes = Votes(tiling, 1, 2)

    votes.add(torch.ones(1, *TILE), all_tiles(tiling)[0])

    assert votes.counts[0, 1] == pytest.approx(3 * 8 * 12)
