"""Networks that have shapes and no content, to look at before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

FILLING = {Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_, Tensor.erfinv_, Tensor.mul_, Tensor.add_,
           Tensor.clamp_}  # fmt: skip


@contextmanager
def contentless() -> Iterator[None]:
    """What is built inside lies on the meta device and is not filled with random numbers either.

    There is nothing to fill, but the first attempt makes PyTorch import its symbolic shapes, which takes seconds.

    >>> with contentless():
    ...     layer = torch.nn.Linear(2, 3)
    >>> layer.weight.shape, layer.weight.device.type
    (torch.Size([3, 2]), 'meta')
    """
    with torch.device("meta"), _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in FILLING and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))
