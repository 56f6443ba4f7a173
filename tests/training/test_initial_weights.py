"""Weights of another network, layer by layer where they fit."""

from __future__ import annotations

import torch
from torch import nn

from medseg.training.initial_weights import class_tensors, take_over


def network(classes: int = 3, width: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(1, width, 3), nn.InstanceNorm3d(width, affine=True), nn.Conv3d(width, classes, 1))


def test_layers_of_the_same_name_and_shape_are_copied() -> None:
    theirs, ours = network(), network()

    taken = take_over(ours, theirs.state_dict())

    assert taken.taken == ("0", "1", "2") and taken.random == ()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_names_of_wrappers_do_not_matter() -> None:
    theirs, ours = network(), network()
    given = {f"module._orig_mod.network.{name}": tensor for name, tensor in theirs.state_dict().items()}

    assert take_over(ours, given).taken == ("0", "1", "2")
    assert torch.equal(ours[0].weight, theirs[0].weight)


def test_a_layer_of_another_shape_stays_random_as_a_whole() -> None:
    ours = network(classes=2)
    before = ours[2].bias.detach().clone()

    taken = take_over(ours, network(classes=3).state_dict())

    assert (taken.taken, taken.other_shape) == (("0", "1"), ("2",))
    assert torch.equal(ours[2].bias, before)


def test_the_head_stays_random_where_it_is_for_other_classes() -> None:
    ours = network()

    taken = take_over(ours, network().state_dict(), replace=class_tensors(network, 3))

    assert (taken.taken, taken.replaced) == (("0", "1"), ("2",))


def test_what_is_missing_and_what_is_not_used_are_told_apart() -> None:
    given = {name: tensor for name, tensor in network().state_dict().items() if not name.startswith("1.")}

    taken = take_over(network(), given | {"extra.weight": torch.zeros(1)})

    assert (taken.missing, taken.unused) == (("1",), ("extra",))


def test_tensors_of_the_classes_are_found_whatever_their_names() -> None:
    assert class_tensors(network, 3) == {"2.weight", "2.bias"}
