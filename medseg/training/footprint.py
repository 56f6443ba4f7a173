"""How much memory a training step of a network takes, counted without computing anything."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medseg.shapes import IntTriple

MIB = 2**20


@dataclass(frozen=True)
class Footprint:
    """Memory of one training step in MiB.

    Args:
        weights: parameters, their gradients and what the optimiser keeps of them, float32.
        activations: what the way forward keeps for the way back.
        loss: logits, probabilities and targets of all outputs, float32.
        passing: the largest gradients that exist at the same time on the way back.
    """

    weights: float
    activations: float
    loss: float
    passing: float

    @property
    def total(self) -> float:
        """MiB of the step, without the library's own buffers (about 600 MiB on CUDA)."""
        return self.weights + self.activations + self.loss + self.passing


def footprint(
    model: nn.Module, batch: int, channels: int, patch: IntTriple, *, activation_bytes: int = 4, moments: int = 2
) -> Footprint:
    """The memory of one training step, from the tensors that autograd keeps.

    The network runs on torch's meta device, where tensors have sizes but no content: exact for every architecture, in
    milliseconds, on a machine without the memory. Fast convolution algorithms ask for working memory beyond it.

    Args:
        model: the network; moved to the meta device, so build one for this call.
        batch: patches per step.
        channels: of the image.
        patch: voxels along X, Y, Z.
        activation_bytes: 4 for float32, 2 for bfloat16.
        moments: numbers that the optimiser keeps per weight: 2 for AdamW, 1 for SGD with momentum.
    """
    model = model.to("meta").train()
    sizes: dict[int, int] = {}
    kept: list[Tensor] = []  # as long as they live, no two of them have the same address

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        sizes[_place(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = model(torch.empty((batch, channels, *patch), device="meta"))
    outputs = [output] if isinstance(output, Tensor) else list(output)
    parameters = {_place(weight): weight.numel() * 4 for weight in model.parameters()}
    activations = {place: size for place, size in sizes.items() if place not in parameters}
    share = activation_bytes / 4
    return Footprint(
        weights=sum(parameters.values()) * (2 + moments) / MIB,
        activations=sum(activations.values()) * share / MIB,
        # log-probabilities, probabilities, target, and the gradients of the first two
        loss=5 * sum(logits.numel() for logits in outputs) * 4 / MIB,
        passing=2 * max(activations.values(), default=0) * share / MIB,
    )


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
