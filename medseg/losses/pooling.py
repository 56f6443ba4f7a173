"""Sums over the batch of all processes of a training, so that several devices see the loss of the whole batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def pooled(sums: Tensor) -> Tensor:
    """The tensor summed over all processes, differentiable; in a single process the tensor itself.

    The scale of the gradient. Every process computes the same loss L of the pooled sums S = s_1 + ... + s_n, and wants
    to contribute dL/dS * ds_r/dw. DDP does not add these up, it averages them, so each is made n times as large here.
    A term without pooled sums (a mean of its own process) is thereby averaged over the processes, as everywhere.
    """
    return _Sum.apply(sums) if _processes() > 1 else sums  # type: ignore[no-any-return]


def gathered(values: Tensor) -> Tensor:
    """The values (N,) of all processes one after the other, without a gradient; all give the same N."""
    if _processes() == 1:
        return values.detach()
    parts = [torch.empty_like(values) for _ in range(_processes())]
    dist.all_gather(parts, values.detach().contiguous())
    return torch.cat(parts)


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sums: Tensor) -> Tensor:
        total = sums.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient * dist.get_world_size()
