"""Several networks, mirrored views, and a device whose memory ends."""

from __future__ import annotations

from math import log
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medseg.inference.network import DeviceMemoryError, Networks, on_device


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


class Experts(Fixed):
    """A network that knows its experts, each of whom gives the same logits for every voxel."""

    def __init__(self, consensus: tuple[float, ...], *experts: tuple[float, ...]) -> None:
        super().__init__(*consensus)
        self.raters, self.each = len(experts), [Fixed(*own) for own in experts]

    def opinions(self, image: Tensor) -> Tensor:
        return torch.stack([self(image), *(own(image) for own in self.each)], dim=1)


def entropy(*shares: float) -> float:
    return -sum(p * log(p) for p in shares if p)


def test_disagreement_is_the_entropy_of_the_mean_minus_the_mean_entropy() -> None:
    one, other = Fixed(log(0.9), log(0.1)), Fixed(log(0.2), log(0.8))

    found, labels = Networks([one, other], [same, same], members="models").opinions(TILES)

    expected = entropy(0.55, 0.45) - (entropy(0.9, 0.1) + entropy(0.2, 0.8)) / 2
    assert found.shape == (5, 3, 4, 4, 4)
    assert found[0, 2, 0, 0, 0] == pytest.approx(expected, abs=1e-6)
    assert labels[0, :, 0, 0, 0].tolist() == [0, 1]
    assert torch.equal(found[:, :2], Networks([one, other], [same, same])(TILES))


def test_members_who_agree_in_their_doubt_do_not_disagree() -> None:
    unsure = Fixed(0.0, 0.0)

    found, _ = Networks([unsure] * 3, [same] * 3, members="models").opinions(TILES)

    assert found[:, 2].max() == pytest.approx(0, abs=1e-6)


def test_experts_are_heard_beside_their_consensus() -> None:
    network = Experts((5.0, 0.0), (50.0, 0.0), (0.0, 50.0))

    networks = Networks([network], [same], members="raters")
    found, labels = networks.opinions(TILES)

    assert networks.count_members() == 2
    assert torch.equal(found[:, :2], network(TILES))
    assert found[0, 2, 0, 0, 0] == pytest.approx(log(2), abs=1e-6)
    assert labels[0, :, 0, 0, 0].tolist() == [0, 1]


def test_an_expert_of_several_folds_is_the_mean_of_the_folds() -> None:
    sure, torn = Experts((0.0, 0.0), (50.0, 0.0), (0.0, 50.0)), Experts((0.0, 0.0), (0.0, 50.0), (50.0, 0.0))

    found, _ = Networks([sure, torn], [same, same], members="raters").opinions(TILES)

    assert found[:, 2].max() == pytest.approx(0, abs=1e-6)  # each expert says both, over the folds


def test_mirrored_views_of_experts_are_turned_back() -> None:
    class Side(Experts):
        def forward(self, image: Tensor) -> Tensor:
            return torch.cat([image, -image, 0 * image], dim=1)

        def opinions(self, image: Tensor) -> Tensor:
            return torch.stack([self(image), self(image), self(image)], dim=1)

    tiles = torch.randn(2, 1, 4, 4, 4)
    networks = Networks([Side((0.0,), (0.0,), (0.0,))], [same], (0, 1), [(1, 2)], members="raters")

    found, labels = networks.opinions(tiles)

    assert torch.allclose(found[:, :3], networks(tiles))
    assert torch.equal(labels[:, 0], networks(tiles).argmax(1).float())


def test_smaller_batches_after_one_that_failed_give_the_same_opinions() -> None:
    roomy, narrow = Networks([Fixed(0.0, 1.0)] * 2, [same] * 2, batch=5, members="models"), Narrow(0.0, 1.0)

    found = Networks([narrow, narrow], [same, same], batch=5, members="models").opinions(TILES)

    assert all(torch.equal(a, b) for a, b in zip(found, roomy.opinions(TILES), strict=True))


def test_a_network_that_the_device_cannot_hold_stays_on_the_cpu_and_that_is_said() -> None:
    class Heavy(Fixed):
        def to(self, *place: Any, **_: Any) -> Any:
            if place[0] != "cpu":
                raise torch.OutOfMemoryError("no room")
            return self

    said: list[str] = []
    models = [Fixed(0.0), Heavy(0.0)]

    assert on_device(models, torch.device("meta"), say=said.append) == models
    assert len(said) == 1 and "does not hold the network; going on with the CPU" in said[0]
    with pytest.raises(DeviceMemoryError, match="does not hold the network"):
        on_device(models, torch.device("meta"), may_use_cpu=False)


def test_memory_of_the_machine_that_ends_is_told_with_what_to_do() -> None:
    class Full(Fixed):
        def forward(self, image: Tensor) -> Tensor:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(DeviceMemoryError, match=r"got cpu\. Promise less with --ram"):
        Networks([Full(0.0)], [same])(TILES)
    with pytest.raises(RuntimeError, match="mat1"):
        Networks([nn.Linear(2, 2)], [same])(TILES)  # type: ignore[list-item]
