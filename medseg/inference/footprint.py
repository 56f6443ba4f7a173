"""How much memory a network's way forward takes, counted without computing anything."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from medseg.shapes import IntTriple


def forward_bytes(model: nn.Module, batch: int, patch: IntTriple) -> int:
    """The most bytes of float32 tensors that exist at the same time while `model` sees `batch` tiles; no weights.

    The network runs on torch's meta device, where tensors have sizes but no content. What libraries take for
    themselves comes on top: see `budget`.
    """
    weights = (*model.parameters(), *model.buffers())
    content_free: dict[int, Any] = {id(own): own.detach().to("meta") for own in weights}
    for own in model.parameters():
        content_free[id(own)] = nn.Parameter(content_free[id(own)], requires_grad=False)
    counting = copy.deepcopy(model, content_free)  # the model itself is not touched: other threads may be using it
    channels = max(getattr(module, "image_channels", 1) for module in model.modules())  # 2 in a cascade
    counted = _Live()
    with torch.inference_mode(), counted:
        counting(torch.empty((batch, channels, *patch), device="meta"))
    return counted.most


class _Live(TorchDispatchMode):
    """Adds up the storages that operations make, and takes away those that die."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {_place(tensor) for tensor in tree_iter((args, kwargs)) if isinstance(tensor, Tensor)}
        found = func(*args, **(kwargs or {}))
        for tensor in tree_iter(found):
            if isinstance(tensor, Tensor) and (place := _place(tensor)) not in given | self.known:
                storage = tensor.untyped_storage()
                self.known.add(place)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._gone, place, storage.nbytes())
        self.most = max(self.most, self.now)
        return found

    def _gone(self, place: int, size: int) -> None:
        self.known.discard(place)
        self.now -= size


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
