"""A network that is told what a coarser one has found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from medseg.inference.footprint import forward_bytes
from medseg.inference.network import Networks, exchange_classes
from medseg.models.cascade import Cascade, image_channels
from medseg.models.unet import UNetConfig


class Echo(nn.Module):
    """Gives back its channels."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image


def told(*classes: float) -> torch.Tensor:
    coarse = torch.tensor(classes, dtype=torch.float32).reshape(1, 1, -1, 1, 1)
    return torch.cat([torch.full_like(coarse, 0.5), coarse], dim=1)


def test_classes_become_channels_and_the_background_none() -> None:
    found = Cascade(Echo(), 3)(told(0, 1, 2))
    assert found[0, :, :, 0, 0].tolist() == [[0.5, 0.5, 0.5], [0, 1, 0], [0, 0, 1]]


def test_its_input_has_two_channels_however_it_is_wrapped() -> None:
    settings: Any = {"channels": (4, 8, 8), "deep_supervision": 0}
    network = Cascade(UNetConfig(**settings).build(4, 4, (8, 8, 8)), 4)
    assert image_channels(nn.Sequential(network)) == 2
    assert image_channels(network.network) == 1
    assert forward_bytes(network, 1, (16, 16, 16)) > 0


def test_in_a_mirrored_view_left_is_told_as_right() -> None:
    seen: list[torch.Tensor] = []

    class Look(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            seen.append(image[0, 1, :, 0, 0])
            return torch.zeros(1, 3, *image.shape[2:])

    keep: Callable[[torch.Tensor], torch.Tensor] = lambda tiles: tiles  # noqa: E731
    Networks([Look()], [keep], mirror_axes=(0,), mirror_pairs=[(1, 2)])(told(1, 0, 0))
    assert [view.tolist() for view in seen] == [[1, 0, 0], [0, 0, 2]]


def test_exchanging_twice_changes_nothing() -> None:
    tiles = told(0, 1, 2, 3)
    once = exchange_classes(tiles, [(1, 2)])
    assert once[0, 1, :, 0, 0].tolist() == [0, 2, 1, 3]
    assert torch.equal(exchange_classes(once, [(1, 2)]), tiles)
