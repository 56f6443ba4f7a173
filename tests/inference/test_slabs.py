"""Sums in a ring: the same scores as with everything in memory, for every order of axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medseg.inference.network import Networks
from medseg.inference.slabs import Layout, Window, open_sums, score_planes
from medseg.inference.tiles import Tiling, find_body, gaussian_weights, lay_tiles
from medseg.shapes import FloatArray, IntTriple


class PlaceInTile(nn.Module):
    """Two classes whose logits depend on the voxel and on where it lies in the tile."""

    def forward(self, image: Tensor) -> Tensor:
        ramp = torch.linspace(-1, 1, image.shape[2])[:, None, None] + torch.linspace(0, 3, image.shape[4])
        return torch.cat([image + ramp, image * 2 - ramp], dim=1)


def whole(image: Tensor, tiling: Tiling) -> FloatArray:
    """The definition: weighted means over all tiles, with sums for the whole image."""
    weights = torch.from_numpy(gaussian_weights(tiling.tile)).double()
    total, norm = torch.zeros((2, *image.shape), dtype=torch.float64), torch.zeros(image.shape, dtype=torch.float64)
    for _, firsts in tiling.layers(0):
        for first in firsts:
            box = tuple(slice(a, a + n) for a, n in zip(first, tiling.tile, strict=True))
            total[(slice(None), *box)] += PlaceInTile()(image[box][None, None])[0].double() * weights
            norm[box] += weights
    return (total / norm).numpy()


def planes(image: Tensor, tiling: Tiling, layout: Layout, batch: int = 1) -> FloatArray:
    networks = Networks([PlaceInTile()], [lambda tiles: tiles], batch=batch)
    parts = score_planes(networks, Window(image, 0.0), tiling, layout, classes=2)
    found = np.concatenate(list(parts)).transpose(1, 0, 2, 3)
    return np.moveaxis(found, (1, 2, 3), [1 + axis for axis in layout.axes])


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("batch", [1, 3])
def test_planes_are_the_means_over_all_tiles_along_any_axis(axes: IntTriple, batch: int) -> None:
    image = torch.randn(21, 17, 30)
    tiling = lay_tiles((21, 17, 30), (8, 8, 12), 0.5)

    assert np.allclose(planes(image, tiling, Layout(axes), batch), whole(image, tiling), atol=1e-4)


def test_sums_in_half_precision_keep_three_digits() -> None:
    image = torch.randn(21, 17, 30)
    tiling = lay_tiles((21, 17, 30), (8, 8, 12), 0.5)

    assert np.abs(planes(image, tiling, Layout(half=True)) - whole(image, tiling)).max() < 0.02


def test_an_image_smaller_than_a_tile_is_padded_on_both_sides() -> None:
    image = torch.randn(3, 20, 4)
    tiling = lay_tiles((3, 20, 4), (8, 8, 8), 0.5)

    found = planes(image, tiling, Layout((2, 1, 0)))

    ramp = torch.linspace(-1, 1, 8)[2:5, None, None] + torch.linspace(0, 3, 8)[2:6]  # 2 voxels before, 3 after
    assert np.allclose(found[0], image + ramp, atol=1e-5)


def test_left_out_tiles_change_nothing_inside_the_body() -> None:
    image = torch.full((48, 24, 24), -1000.0)
    image[4:14, 6:18, 6:18] = 50 * torch.randn(10, 12, 12)
    body = find_body(image.numpy(), (3.0, 3.0, 3.0))
    some, every = lay_tiles((48, 24, 24), (16, 16, 16), 0.5, body), lay_tiles((48, 24, 24), (16, 16, 16), 0.5)

    fewer, all_of_them = planes(image, some, Layout()), planes(image, every, Layout())

    assert some.count < every.count
    inside = body.voxels((48, 24, 24))
    assert np.array_equal(fewer[:, inside], all_of_them[:, inside])
    assert (fewer[0, 40:] > fewer[1, 40:]).all()  # where no tile lies there is background


def test_progress_counts_to_the_number_of_tiles() -> None:
    told: list[tuple[int, int]] = []
    tiling = lay_tiles((16, 16, 16), (8, 8, 8), 0.5)
    networks = Networks([PlaceInTile()], [lambda tiles: tiles], batch=4)

    list(score_planes(networks, Window(torch.zeros(16, 16, 16), 0.0), tiling, Layout(),
                      on_progress=lambda done, total: told.append((done, total))))  # fmt: skip

    assert told[0] == (0, 27) and told[-1] == (27, 27)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_sums_that_the_device_cannot_hold_lie_on_the_host_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    tiling, said = lay_tiles((6, 5, 4), (4, 4, 4), 0.5), list[str]()
    zeros = torch.zeros

    def full(*shape: Any, device: Any = None, **rest: Any) -> torch.Tensor:
        if device is not None and torch.device(device).type == "meta":  # stands for a GPU
            raise torch.OutOfMemoryError("no room")
        return zeros(*shape, device=device, **rest)

    monkeypatch.setattr(torch, "zeros", full)
    sums = open_sums(tiling, Layout(device=torch.device("meta")), 2, 0, said.append)

    assert sums.scores.device.type == "cpu" and sums.layout.device.type == "cpu"
    assert said == ["The meta memory does not hold the sums of the scores; going on with sums on the host."]
