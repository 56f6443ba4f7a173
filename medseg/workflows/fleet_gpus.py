"""How the workers of a fleet share graphics processors: spread evenly, each with its part of the memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medseg.errors import UsageError

VARIABLE = "CUDA_VISIBLE_DEVICES"  # CUDA's own, and Ray's
FINEST = 10_000  # parts of a GPU that Ray can tell apart
FREE_SHARE = 0.9  # of a worker's part, as for one that is alone


@dataclass(frozen=True)
class Sharing:
    """How many workers have one GPU between them (0: they use none), and what part of it each asks for."""

    sharing: int = 0
    share: float = 0.0


def share_gpus(workers: int, gpus: int, device: str) -> Sharing:
    """The part of a GPU for each of the workers.

    Raises:
        UsageError: `cuda` is asked for and there is no GPU.

    >>> share_gpus(6, 4, "auto"), share_gpus(2, 4, "cuda"), share_gpus(2, 0, "auto")
    (Sharing(sharing=2, share=0.5), Sharing(sharing=1, share=1.0), Sharing(sharing=0, share=0.0))
    """
    if device == "cuda" and not gpus:
        raise UsageError("the workers have no GPU", where="--device cuda", do="Use --device cpu or auto.")
    if device == "cpu" or not gpus:
        return Sharing()
    sharing = -(-workers // gpus)
    return Sharing(sharing, FINEST // sharing / FINEST)


def visible_gpus(device: str, torch: Any = None, environment: Mapping[str, str] = os.environ) -> list[str]:
    """What CUDA calls the GPUs of this process; empty for work on the CPU, and without PyTorch or a GPU."""
    torch = torch or sys.modules.get("torch")
    if device == "cpu" or torch is None:
        return []
    count = torch.cuda.device_count()
    named = [name.strip() for name in environment.get(VARIABLE, "").split(",") if name.strip()]
    return named[:count] if named else [str(k) for k in range(count)]


def part_of_gpu(sharing: int, torch: Any) -> int | None:
    """Bytes of this process's GPU for one of so many workers; None for one alone, or without a GPU.

    What other programs hold is left out: at most the usual share of what is free.
    """
    if sharing < 2 or not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    return int(FREE_SHARE * min(free, total / sharing))
