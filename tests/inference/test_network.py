"""Several networks, mirrored views, and a device whose memory ends."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medseg.inference.network import DeviceMemoryError, Networks


class Fixed(nn.Module):
    """The same logits for every voxel."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, image: Tensor) -> Tensor:
        return self.logits[None, :, None, None, None].expand(len(image), -1, *image.shape[2:])


class Narrow(Fixed):
    """Has memory for some tiles only."""

    room = 2

    def forward(self, image: Tensor) -> Tensor:
        if len(image) > self.room:
            raise torch.OutOfMemoryError("no room")
        return super().forward(image)


def same(tiles: Tensor) -> Tensor:
    return tiles


TILES = torch.zeros(5, 1, 4, 4, 4)


def test_scores_of_several_networks_are_the_logarithm_of_their_mean_probability() -> None:
    one, other = Fixed(0.0, 2.0, 1.0), Fixed(3.0, 0.0, -1.0)

    scores = Networks([one, other], [same, same])(TILES)

    mean = (torch.softmax(one.logits, 0) + torch.softmax(other.logits, 0)) / 2
    assert torch.allclose(scores[0, :, 0, 0, 0].exp(), mean, atol=1e-6)


def test_each_network_sees_its_own_normalisation() -> None:
    class Echo(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return torch.cat([torch.zeros_like(image), image], dim=1)

    scores = Networks([Echo(), Echo()], [lambda t: t + 1, lambda t: t + 1])(TILES)

    assert torch.allclose(scores.softmax(1)[0, 1], torch.sigmoid(torch.ones(4, 4, 4)), atol=1e-6)


@pytest.mark.parametrize(("swap", "exchanged"), [("side", (0,)), ("chirality", (1,))])
def test_names_are_exchanged_by_the_rule_of_training(swap: str, exchanged: tuple[int, ...]) -> None:
    networks = Networks([Fixed(0.0, 4.0, 0.0)], [same], exchanged, [(1, 2)], swap)  # type: ignore[arg-type]

    scores = networks(TILES)[0, :, 0, 0, 0]

    assert scores.tolist() == [0, 2, 2]  # half of the views say left, the mirrored half right


def test_a_batch_that_does_not_fit_is_tried_in_halves_and_that_is_said() -> None:
    said: list[str] = []
    networks = Networks([Narrow(0.0, 1.0)], [same], batch=5, say=said.append)

    scores = networks(TILES)

    assert scores.shape == (5, 2, 4, 4, 4)
    assert networks.batch == 2
    assert said == ["The cpu memory does not hold 5 tiles; going on with 2 at a time."]


def test_a_tile_that_does_not_fit_alone_is_an_error_that_says_what_to_do() -> None:
    model = Narrow(0.0, 1.0)
    model.room = 0

    with pytest.raises(DeviceMemoryError, match="does not hold a single tile"):
        Networks([model], [same])(TILES)


def test_a_device_that_is_too_small_hands_over_to_the_cpu_where_that_is_allowed() -> None:
    said: list[str] = []
    model = Narrow(0.0, 1.0)
    model.room = 0
    networks = Networks([model], [same], precision="bf16", say=said.append)
    networks.device = torch.device("meta")  # stands for a GPU

    networks._retreat(1, torch.OutOfMemoryError())

    assert (networks.device.type, networks.precision) == ("cpu", "fp32")
    assert "going on with the CPU" in said[0]


def test_without_permission_it_does_not() -> None:
    networks = Networks([Fixed(0.0)], [same], may_use_cpu=False)
    networks.device = torch.device("meta")

    with pytest.raises(DeviceMemoryError):
        networks._retreat(1, torch.OutOfMemoryError())
