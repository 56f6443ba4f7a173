"""What workers of a fleet do in tests; in a module of its own because they import it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import GeometryError

POISON, BUG = 3, 5


def square(number: int) -> int:
    """The square, but for two items that fail."""
    if number == POISON:
        raise GeometryError("another grid", where="case 3", expected="1 mm", got="2 mm", do="Resample it.")
    if number == BUG:
        raise ValueError("the name of a patient")
    return number * number


@dataclass(frozen=True)
class Dying:
    """Writes a line for each finished item; is killed over some items, the first times or always.

    Args:
        deaths: item to how often its worker is killed.
    """

    folder: Path
    deaths: dict[int, int]

    def __call__(self, number: int) -> int:
        for death in range(self.deaths.get(number, 0)):
            grave = self.folder / f"{number}-{death}"
            if not grave.exists():
                grave.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        with open(self.folder / "lines", "a", encoding="ascii") as stream:
            stream.write(f"{number}\n")
        return number * number


@dataclass(frozen=True)
class Counting:
    """Built once in each worker, which leaves a file; items give the worker's number and its limit of threads."""

    folder: Path

    def __call__(self) -> Callable[[int], tuple[int, str]]:
        (self.folder / f"built-{os.getpid()}-{time.monotonic_ns()}").touch()
        return lambda _: (os.getpid(), os.environ["OMP_NUM_THREADS"])


class Crowd:
    """How many are at work at the same time."""

    def __init__(self) -> None:
        self.now, self.most, self.lock = 0, 0, threading.Lock()

    def __call__(self, number: int) -> int:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.002)
        with self.lock:
            self.now -= 1
        return number


def interrupted_once(folder: Path) -> Callable[[int], int]:
    """A disk that fails once."""

    def work(number: int) -> int:
        if number == 1 and not (folder / "failed").exists():
            (folder / "failed").touch()
            raise OSError("the share went away")
        return number

    return work


def broken() -> Callable[[int], int]:
    raise GeometryError("no model", where="run")


def stillborn() -> Callable[[int], int]:
    os._exit(3)


def not_to_be_sent(_: int) -> Callable[[], None]:
    return lambda: None
