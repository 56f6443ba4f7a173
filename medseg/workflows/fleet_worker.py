"""What a worker does with one item, wherever it runs; imports nothing heavy, so that threads can be limited first."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from medseg.errors import MedsegError, WorkerError

Item = TypeVar("Item")
Result = TypeVar("Result")
Build = Callable[[], Callable[[Item], Result]]
THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)  # fmt: skip
NO_MEMORY = ("DefaultCPUAllocator", "CUDA out of memory")  # in PyTorch's RuntimeErrors
MEMORY_DO = "Try fewer --jobs; `medseg predict` keeps to a limit with --ram 8G and --vram 6G. The other items go on."


@dataclass(frozen=True)
class Reply:
    """What became of one try: a result, an error, or a worker that died; can be handed to another process.

    Args:
        lost: how the worker died; empty when it lives.
        may_pass: the same item may succeed when it is tried again.
        seconds: that it took.
    """

    result: Any = None
    error: MedsegError | None = None
    lost: str = ""
    may_pass: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class Place:
    """Where and how a worker runs.

    Args:
        folder: to which relative paths refer.
        threads: that a worker's libraries may start.
        gpu: what CUDA calls its GPU; None leaves it to whoever started the process.
        sharing: how many workers have that GPU between them.
    """

    folder: str
    threads: int
    gpu: str | None = None
    sharing: int = 1

    def enter(self) -> None:
        """Limits threads and goes to the folder.

        Raises:
            OSError: the folder is not there: on another machine, without shared storage.
        """
        for variable in THREADS:
            os.environ[variable] = str(self.threads)
        if self.gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpu  # before CUDA is used
        here.append(self)
        if os.getcwd() != self.folder:
            os.chdir(self.folder)


here: list[Place] = []  # where this process works, the last; empty where it is no worker


def sharing_here() -> int:
    """How many workers have this process's GPU between them."""
    return here[-1].sharing if here else 1


def place_here(workers: int) -> Place:
    """The folder of this process, and its cores shared among the workers."""
    return Place(os.getcwd(), max(1, count_cores() // workers))


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def attempt(call: Callable[..., Any], *arguments: Any) -> Reply:
    """The call's result or the error that it raised; what ends a process, such as Ctrl-C, passes.

    Of an error that is not ours only its kind and its line are told: its text may name a patient or a folder.
    """
    begun = time.perf_counter()
    with _Caught() as caught:
        return Reply(result=call(*arguments), seconds=time.perf_counter() - begun)
    seconds = time.perf_counter() - begun
    if isinstance(caught.error, MedsegError):
        return Reply(error=caught.error, seconds=seconds)
    assert caught.error is not None
    memory = is_of_memory(caught.error)
    what, do = ("the memory ran out", MEMORY_DO) if memory else ("stopped unexpectedly", "The other items go on.")
    error = WorkerError(what, got=_told(caught.error), do=do)
    error.__cause__ = caught.error  # stays in this process: it is not pickled
    return Reply(error=error, may_pass=memory or isinstance(caught.error, OSError), seconds=seconds)


def is_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had, of Python, numpy or PyTorch, here or on a device.

    >>> is_of_memory(MemoryError()), is_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    (True, True)
    >>> is_of_memory(RuntimeError("another size"))
    False
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)


def built(build: Build[Any, Any], place: Place) -> Callable[[Any], Any]:
    """A worker's function, its libraries limited to their threads."""
    work = build()
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(place.threads)
    return work


def _told(error: Exception) -> str:
    """The kind of an error and the last line of medseg that it passed.

    >>> _told(KeyError("patient"))
    'KeyError'
    """
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is `attempt`
    ours = [frame for frame in frames if f"{os.sep}medseg{os.sep}" in frame.filename] or frames
    return type(error).__name__ + (f" in {Path(ours[-1].filename).name}, line {ours[-1].lineno}" if ours else "")


class _Caught:
    """Keeps the error that ended its block.

    The one place where any error is caught: a study that breaks a library in a way that nobody foresaw must not cost
    the other thousand. It is neither repaired nor dropped, but handed on as the item's outcome.
    """

    error: Exception | None = None

    def __enter__(self) -> _Caught:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.error = error if isinstance(error, Exception) else None
        return self.error is not None
