"""The processes of one training: one device each, started by torchrun; a single process is a world of one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from time import sleep
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from medseg.errors import MedsegError, UsageError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

LONGEST_WAIT = timedelta(hours=4)  # of one process for another: reading cases, validating the longest scan
TELLING_S = 5.0  # torchrun ends all processes when one has left: the first to fail must have told why before
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # torchrun tells processes so only
OPENED = count()  # worlds, by this process; the same in all of them
Item = TypeVar("Item")


@dataclass(frozen=True)
class World:
    """A process among those of a training.

    Args:
        rank: number of this process, from 0; rank 0 alone writes files and speaks.
        size: how many processes there are.
        device: what this process computes on.
        store: where the processes find each other; None in a world of one.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    store: Store | None = field(default=None, repr=False, compare=False)

    def on(self, device: str) -> World:
        """The world on `auto`, `cpu` or `cuda`: one GPU each with NCCL, or CPUs with gloo.

        Raises:
            UsageError: there are more processes on this machine than GPUs; see `choose_device`.
        """
        own = _own_device(device) if self.size > 1 else choose_device(device)
        if self.store is not None and not dist.is_initialized():
            backend = "nccl" if own.type == "cuda" else "gloo"
            dist.init_process_group(
                backend, store=self.store, rank=self.rank, world_size=self.size, timeout=LONGEST_WAIT
            )
        return replace(self, device=own)

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def wrapped(self, model: nn.Module) -> nn.Module:
        """The network with its gradients averaged over the processes; in a world of one the network itself."""
        if self.size == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids)

    def share(self, items: Sequence[Item]) -> list[Item]:
        """Every `size`-th item: together the processes have each one once."""
        return list(items[self.rank :: self.size])

    def gathered(self, item: Item) -> list[Item]:
        """What every process gave, in order of rank, for all of them."""
        if self.size == 1:
            return [item]
        items: list[Any] = [None] * self.size
        dist.all_gather_object(items, item)
        return items

    def summed(self, *values: float) -> list[float]:
        """Each number summed over the processes."""
        if self.size == 1:
            return list(values)
        totals = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(totals)
        return totals.tolist()

    def wait(self) -> None:
        """Returns when every process has come here."""
        if self.size > 1:
            dist.barrier(device_ids=[self.device.index] if self.device.type == "cuda" else None)


def is_first() -> bool:
    """Whether this process speaks for the training, before a world is opened."""
    return os.environ.get("RANK", "0") == "0" or any(name not in os.environ for name in TORCHRUN)


def choose_device(name: str) -> torch.device:
    """`auto` takes CUDA when there is one.

    Raises:
        UsageError: `cuda` was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("this machine has no CUDA device", where="device cuda", do="Use cpu or auto.")
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError("unknown device", expected="auto, cpu or cuda", got=name)
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


@contextmanager
def open_world() -> Iterator[World]:
    """The world that torchrun's environment variables tell of, or a world of one; `World.on` then gives it devices.

    An error in one process ends all: the first one that fails tells it, the others leave in silence with its exit code.
    """
    if dist.is_available() and dist.is_initialized():  # somebody's own program has opened it
        yield World(dist.get_rank(), dist.get_world_size())
    elif any(name not in os.environ for name in TORCHRUN) or int(os.environ["WORLD_SIZE"]) == 1:
        yield World()
    else:
        from torch.distributed.distributed_c10d import PrefixStore  # builds of torch without it have one process
        from torch.distributed.rendezvous import rendezvous

        store, rank, size = next(rendezvous("env://", timeout=LONGEST_WAIT))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = PrefixStore(f"medseg/{attempt}/{next(OPENED)}", store)  # nothing left by a training before
        try:
            with _one_voice(store):  # inside: a failure is counted before the peers can notice that this process leaves
                yield World(rank, size, store=store)
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()


@contextmanager
def _one_voice(store: Store) -> Iterator[None]:
    """Lets the first error of all processes through and turns those that follow from it into a silent exit."""
    try:
        yield
    except (MedsegError, RuntimeError) as error:  # RuntimeError: a peer has left in the middle of an exchange
        if store.add("failures", 1) == 1:
            raise
        sleep(TELLING_S)
        raise SystemExit(error.exit_code if isinstance(error, MedsegError) else MedsegError.exit_code) from None


def _own_device(name: str) -> torch.device:
    device = choose_device(name)
    if device.type == "cpu":
        return device
    local, there = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if local >= there:
        raise UsageError("more processes than GPUs on this machine", where="torchrun --nproc-per-node",
                         expected=f"at most {there}", do="Start fewer, or set training.device=cpu.")  # fmt: skip
    own = torch.device("cuda", local)
    torch.cuda.set_device(own)
    return own
