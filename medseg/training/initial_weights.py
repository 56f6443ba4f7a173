"""A network that begins with somebody else's weights, layer by layer where they fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.|network\.)+")  # of DDP, torch.compile, and our own around a network


@dataclass(frozen=True)
class TakenOver:
    """Layers by name, such as `encoder.2.0.1`; a layer is a module with its weight, bias and so on.

    Args:
        taken: that have the given weights now.
        replaced: the head, because it is for other classes: random.
        other_shape: that are there on both sides but do not fit: random.
        missing: that the given weights lack: random.
        unused: of the given weights, that the network lacks.
    """

    taken: tuple[str, ...]
    replaced: tuple[str, ...]
    other_shape: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def random(self) -> tuple[str, ...]:
        """Layers that begin with random weights."""
        return (*self.replaced, *self.other_shape, *self.missing)


@torch.no_grad()
def take_over(model: nn.Module, given: Mapping[str, Tensor], replace: Collection[str] = ()) -> TakenOver:
    """Copies into the model every layer of `given` that has its name and the shape of all its tensors.

    Args:
        model: changed in place; the rest keeps its own weights.
        given: tensors by name; the names of wrappers in front do not matter.
        replace: names of the model's tensors that keep their random weights, such as `class_tensors` finds.
    """
    own = model.state_dict()
    plain = {WRAPPERS.sub("", name): tensor for name, tensor in given.items()}
    fates: dict[str, list[str]] = {"taken": [], "replaced": [], "other_shape": [], "missing": []}
    for layer, names in _layers(own).items():
        found = [plain.get(WRAPPERS.sub("", name)) for name in names]
        fate = _fate([own[name] for name in names], found, any(name in replace for name in names))
        fates[fate].append(WRAPPERS.sub("", layer))
        if fate == "taken":
            for name, tensor in zip(names, found, strict=True):
                assert tensor is not None
                own[name].copy_(tensor)
    there = {WRAPPERS.sub("", layer) for layer in _layers(own)}
    unused = (WRAPPERS.sub("", layer) for layer in _layers(plain))
    return TakenOver(**{name: tuple(layers) for name, layers in fates.items()},
                     unused=tuple(layer for layer in unused if layer not in there))  # fmt: skip


def _fate(own: list[Tensor], found: list[Tensor | None], replaced: bool) -> str:
    if replaced:
        return "replaced"
    if any(tensor is None for tensor in found):
        return "missing"
    fits = all(a.shape == b.shape for a, b in zip(own, found, strict=True) if b is not None)
    return "taken" if fits else "other_shape"


def _layers(names: Collection[str]) -> dict[str, list[str]]:
    """Names of tensors by the module that they belong to."""
    found: dict[str, list[str]] = {}
    for name in names:
        layer, _, tensor = name.rpartition(".")
        found.setdefault(layer or tensor, []).append(name)
    return found


def class_tensors(build: Callable[[int], nn.Module], classes: int) -> set[str]:
    """Names of the tensors whose shape depends on the number of classes: the head, whatever the network.

    Args:
        build: gives the network for a number of classes; called twice, on a device where tensors hold nothing.
    """
    with torch.device("meta"):
        some, more = (build(number).state_dict() for number in (classes, classes + 1))
    return {name for name, tensor in some.items() if name not in more or more[name].shape != tensor.shape}
