"""How much memory a network's way forward takes, counted without computing anything."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from medseg.shapes import IntTriple


def forward_bytes(model: nn.Module, batch: int, patch: IntTriple) -> int:
    """The most bytes of float32 tensors that exist at the same time while `model` sees `batch` tiles; no weights.

    The network runs on torch's meta device, where tensors have sizes but no content. What libraries take for
    themselves comes on top: see `budget`.
    """
    content_free: dict[str, Any] = {
        name: own.to("meta") for name, own in (*model.named_parameters(), *model.named_buffers())
    }
    channels = max(getattr(module, "image_channels", 1) for module in model.modules())  # 2 in a cascade
    counted = _Live()
    with torch.inference_mode(), counted:
        functional_call(model, content_free, (torch.empty((batch, channels, *patch), device="meta"),))
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
