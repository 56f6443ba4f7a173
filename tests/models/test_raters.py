"""Rater networks: every network can be wrapped, each rater's own line is learned, a known confusion is recovered."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from medseg.errors import ConfigError
from medseg.losses.deep_supervision import DeepSupervision
from medseg.losses.dice_ce import DiceCEConfig, one_hot
from medseg.models.raters import RATER_NETWORKS, Crowd, RaterNetwork, build_rater_network
from medseg.models.registry import ModelConfig

SMALL: dict[str, dict[str, Any]] = {
    "unet": {"name": "unet", "channels": [4, 8, 8], "deep_supervision": 1},
    "resenc-m": {"name": "resenc-m", "channels": [4, 8, 8], "blocks": [1, 2, 2], "deep_supervision": 1},
    "unetr": {"name": "unetr", "hidden": 24, "mlp": 32, "heads": 4, "features": 4},
    "swin-unetr": {"name": "swin-unetr", "features": 12, "depths": [1, 1, 1, 1], "window": 2},
    "mednext": {"name": "mednext", "size": "S", "filters": 4},
    "segresnet": {"name": "segresnet", "filters": 8, "blocks": [1, 1, 1], "deep_supervision": 1},
}
PATCHES = {"swin-unetr": (64, 32, 32), "mednext": (32, 16, 16)}  # norms need two deepest voxels
RATERS, CLASSES = 3, 2
every_mode = pytest.mark.parametrize("mode", RATER_NETWORKS)


def make(mode: Any, name: str = "unet", classes: int = CLASSES, raters: int = RATERS) -> RaterNetwork:
    config: Any = TypeAdapter(ModelConfig).validate_python(SMALL[name])
    patch = PATCHES.get(name, (16, 16, 16))
    return build_rater_network(mode, lambda outputs: config.build(1, outputs, patch), classes, raters)


def first(output: Tensor | list[Tensor]) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def unsettle(network: RaterNetwork) -> RaterNetwork:
    """Raters that differ, as after some training."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return network


@every_mode
@pytest.mark.parametrize("name", SMALL)
def test_every_network_gives_the_logits_of_each_samples_rater(mode: Any, name: str) -> None:
    network = unsettle(make(mode, name))
    image = torch.randn(2, 1, *PATCHES.get(name, (16, 16, 16)))

    loss = sum(one.square().mean() for one in _listed(network(image, torch.tensor([2, 0])))) + network.penalty()
    loss.backward()

    assert first(network(image, torch.tensor([2, 0]))).shape == (2, CLASSES, *image.shape[2:])
    assert all(p.grad is not None for p in network.parameters() if not _is_spare(name, p, network))


def _listed(output: Tensor | list[Tensor]) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else output


def _is_spare(name: str, parameter: Tensor, network: RaterNetwork) -> bool:
    """Whether the plain network leaves this parameter out too (MONAI's transformers have such)."""
    if name not in ("unetr", "swin-unetr", "mednext"):
        return False
    return next(key for key, p in network.named_parameters() if p is parameter).startswith("network.")


@every_mode
def test_a_sample_does_not_depend_on_the_raters_of_the_others(mode: Any) -> None:
    network = unsettle(make(mode)).eval()
    image = torch.randn(2, 1, 16, 16, 16)

    mixed = network(image, torch.tensor([2, 0]))
    alone = torch.cat([network(image[:1], torch.tensor([2])), network(image[1:], torch.tensor([0]))])

    assert torch.allclose(mixed, alone, atol=1e-5)
    assert not torch.allclose(mixed, network(image, torch.tensor([1, 1])), atol=1e-2)


@every_mode
def test_as_a_rater_it_is_a_plain_network_and_without_one_the_consensus(mode: Any) -> None:
    network, image = unsettle(make(mode)).eval(), torch.randn(2, 1, 16, 16, 16)

    assert torch.equal(network.as_rater(1)(image), network(image, torch.tensor([1, 1])))
    assert torch.equal(network.as_rater(None)(image), network(image))


def test_the_consensus_of_heads_is_the_mean_of_their_probabilities() -> None:
    network, image = unsettle(make("heads")).eval(), torch.randn(1, 1, 16, 16, 16)

    mean = torch.stack([network.as_rater(rater)(image).softmax(1) for rater in range(RATERS)]).mean(0)

    assert torch.allclose(network(image).softmax(1), mean, atol=1e-6)


@every_mode
def test_before_the_first_step_all_raters_agree(mode: Any) -> None:
    network, image = make(mode).eval(), torch.randn(1, 1, 16, 16, 16)

    answers = [network.as_rater(rater)(image) for rater in (0, 1, 2)]

    assert all(torch.equal(answers[0], other) for other in answers[1:])
    assert torch.equal(answers[0].argmax(1), network(image).argmax(1))


def test_a_patch_of_one_rater_moves_the_other_heads_by_half_as_much() -> None:
    network = make("heads").train()

    first(network(torch.randn(1, 1, 16, 16, 16), torch.tensor([1])))[:, 0].mean().backward()

    found = [weight.grad for weight in network.parameters() if weight.grad is not None and weight.grad.any()]
    last = next(gradient for gradient in reversed(found) if len(gradient) == RATERS * CLASSES)
    moved = last.unflatten(0, (RATERS, CLASSES))[:, 0]
    assert torch.allclose(moved[1], 2 * moved[0]) and torch.equal(moved[0], moved[2])


def test_the_wrapped_network_keeps_the_names_and_numbers_of_its_weights() -> None:
    torch.manual_seed(0)
    plain = make("crowd").network.state_dict()
    torch.manual_seed(0)
    conditioned = make("conditioned").network.state_dict()

    assert set(plain) <= set(conditioned)
    assert all(torch.equal(plain[key], conditioned[key]) for key in plain)


@every_mode
def test_weights_can_be_stored_and_a_copy_stands_on_its_own(mode: Any) -> None:
    network, image = unsettle(make(mode)).eval(), torch.randn(1, 1, 16, 16, 16)
    again, copy = make(mode).eval(), deepcopy(network)
    again.load_state_dict(network.state_dict())
    before = network(image, torch.tensor([1]))
    network(image, torch.tensor([0]))  # what one was asked must not reach the other

    assert torch.equal(again(image, torch.tensor([1])), before)
    assert torch.equal(copy(image), again(image)) and torch.equal(copy(image, torch.tensor([1])), before)


def test_a_network_without_normalisation_cannot_be_conditioned() -> None:
    with pytest.raises(ConfigError, match=r"raters: this network has no normalisation.*Use heads or crowd"):
        build_rater_network("conditioned", lambda outputs: nn.Conv3d(1, outputs, 3), 2, 2)


def cube(half: int) -> Tensor:
    """Class indices (16, 16, 16) of a cube in the middle."""
    labels = torch.zeros(16, 16, 16, dtype=torch.long)
    inside = slice(8 - half, 8 + half)
    labels[inside, inside, inside] = 1
    return labels


def learn(network: RaterNetwork, image: Tensor, readings: Tensor, steps: int, rate: float) -> RaterNetwork:
    """Trains on one image (1, 1, X, Y, Z) and one reading (R, X, Y, Z) per rater, all raters in each batch."""
    loss, optimizer = DeepSupervision(DiceCEConfig().build()), torch.optim.Adam(network.parameters(), lr=rate)
    target, weight = one_hot(readings, CLASSES)
    for _ in range(steps):
        output = network(image.expand(len(readings), -1, -1, -1, -1), torch.arange(len(readings)))
        optimizer.zero_grad()
        (loss(output, target, weight) + network.penalty()).backward()
        optimizer.step()
    return network.eval()


@pytest.mark.parametrize("mode", ["heads", "conditioned"])
def test_each_experts_own_boundary_is_learned(mode: Any) -> None:
    readings = torch.stack([cube(3), cube(4), cube(5)])  # one voxel inside the edge in the image, on it, and outside
    image = cube(4).float()[None, None] + 0.05 * torch.randn(1, 1, 16, 16, 16)

    network = learn(make(mode), image, readings, steps=120, rate=0.02)

    for rater, reading in enumerate(readings):
        drawn = network.as_rater(rater)(image).argmax(1)[0]
        assert (drawn != reading).float().mean() < 0.01
    assert (network(image).argmax(1)[0] != cube(4)).float().mean() < 0.02  # the experts' middle


class Known(nn.Module):
    """A network that is sure of what it sees: the crowd's matrices are all that is left to learn."""

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(10.0))

    def forward(self, image: Tensor) -> Tensor:
        return self.sharpness * torch.cat([1 - image, image], dim=1)


def test_a_crowd_recovers_known_confusion_matrices() -> None:
    true = torch.tensor([[[0.95, 0.05], [0.4, 0.6]], [[0.8, 0.2], [0.1, 0.9]]])
    there = torch.zeros(16, 16, 16, dtype=torch.long)
    there[:, :, :8] = 1
    said = torch.stack([torch.bernoulli(matrix[there, 1]).long() for matrix in true])
    network = Crowd(Known(), CLASSES, raters=2)
    loss = DiceCEConfig(dice_weight=0).build()
    optimizer = torch.optim.Adam([network.confusion_logits], lr=0.1)
    target, weight = one_hot(said, CLASSES)

    for _ in range(150):
        output = network(there.float().expand(2, 1, -1, -1, -1), torch.arange(2))
        optimizer.zero_grad()
        loss(output, target, weight).backward()
        optimizer.step()

    assert torch.allclose(network.confusion, true, atol=0.03)


def test_confusion_begins_near_identity_and_the_penalty_is_its_trace() -> None:
    network = make("crowd", classes=4)
    assert isinstance(network, Crowd)
    assert torch.allclose(network.confusion.sum(2), torch.ones(RATERS, 4))
    assert torch.allclose(network.confusion.diagonal(dim1=1, dim2=2), torch.full((RATERS, 4), 0.999))
    assert float(network.penalty().detach()) == pytest.approx(0.00999)
    assert make("heads").penalty() == 0


def test_what_a_crowd_says_are_probabilities() -> None:
    network, image = unsettle(make("crowd", classes=4)).eval(), torch.randn(1, 1, 16, 16, 16)

    said = network.as_rater(2)(image).exp().sum(1)

    assert torch.allclose(said, torch.ones_like(said), atol=1e-5)


def test_every_network_of_the_registry_is_tried_here() -> None:
    names = {
        name for model in get_args(get_args(ModelConfig)[0]) for name in get_args(model.model_fields["name"].annotation)
    }
    assert names - {"resenc-l"} == set(SMALL)  # the same blocks as resenc-m


@every_mode
def test_opinions_are_the_consensus_and_every_rater(mode: Any) -> None:
    network = unsettle(make(mode)).eval()
    image = torch.randn(2, 1, 16, 16, 16)

    with torch.no_grad():
        found = network.as_rater(None).opinions(image)
        alone = [first(network.as_rater(rater)(image)) for rater in (None, *range(RATERS))]

    assert network.as_rater(None).raters == RATERS and network.as_rater(0).raters == 0
    assert torch.allclose(found, torch.stack(alone, dim=1), atol=1e-5)
