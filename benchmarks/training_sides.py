"""Both sides of a training benchmark, each in a process of its own as its users start it, taking turns.

Only one of them runs at a time: the others and their loader processes are stopped (SIGSTOP), so that nobody fills its
queue while another one is timed. Each side is a process group of its own: when this process is killed, the kernel wakes
and hangs up the stopped groups that it leaves behind.
"""

from __future__ import annotations

import json
import math
import os
import selectors
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from io_memory import MB

ROOT, CHILD = Path(__file__).parents[1], Path(__file__).with_name("training_child.py")
SAMPLE_S = 0.5  # adding up a process's pages takes the kernel some ms
PATIENCE_S = 600.0
LEAST_ROUNDS = 3
ENVIRONMENT = {"nnUNet_compile": "f", "nnUNet_def_n_proc": "2", "PYTHONPATH": str(ROOT)}


class Side:
    """A child that does units of work when it is told to.

    Args:
        command: arguments of `training_child.py`.
        environment: on top of this process's own.

    Attributes:
        ready_s: seconds from its start until it had done its first unit.
        facts: what it told about itself then.
        peak_mb: the most memory of it and its loader processes so far (proportional share of what they share).
    """

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        start = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD), *map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, process_group=0, env={**os.environ, **ENVIRONMENT, **environment},
        )  # fmt: skip
        self.errors: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            with watched(self.process.pid) as self.memory:
                self.facts = self._told()
        except BaseException:
            self.close()
            raise
        self.ready_s = time.perf_counter() - start
        self.pause()

    @property
    def peak_mb(self) -> float:
        return self.memory.peak_mb

    def run(self, units: int, threads: int | None = None) -> float:
        """Seconds a unit, as the child measures them."""
        return self._ordered({"units": units, "threads": threads})["seconds"] / units

    def go_on(self) -> None:
        """Begins the child's next phase; returns when it has done the first unit of it."""
        self.facts = self._ordered({"go_on": True})

    def _ordered(self, order: dict[str, Any]) -> dict[str, Any]:
        os.killpg(self.process.pid, signal.SIGCONT)
        try:
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            return self._told()
        finally:
            self.pause()

    def pause(self) -> None:
        """Returns when the child stands still (or has ended)."""
        if self.process.poll() is None:
            self.memory.look()
            os.killpg(self.process.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def close(self) -> None:
        """Ends the child and the processes that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                self.errors = [*self.errors[-20:], line.rstrip()]

    def _told(self) -> dict[str, Any]:
        """The child's next line."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.process.stdout, selectors.EVENT_READ)
            line = self.process.stdout.readline() if waiting.select(PATIENCE_S) else ""
        if not line:
            time.sleep(SAMPLE_S)  # its last words are still on their way
            raise RuntimeError(next((words for words in reversed(self.errors) if words.strip()), "no answer"))
        return json.loads(line)


def in_turns(
    ours: Side, peer: Side, rounds: int, units: int, threads: int | None = None, enough_s: float = math.inf
) -> list[tuple[float, float]]:
    """Seconds a unit of both sides, round by round; whoever went last goes first in the next round.

    After `enough_s` seconds three rounds are enough, so that a busy machine does not take minutes.
    """
    sides, start = (ours, peer), time.monotonic()
    for side in sides:
        side.run(units, threads)  # what the number of threads changes is settled before anything counts
    found = []
    for number in range(rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        if number >= LEAST_ROUNDS and time.monotonic() - start > enough_s:
            break
        seconds = {place: sides[place].run(units, threads) for place in order}
        found.append((seconds[0], seconds[1]))
    return found


def median_ratio(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Median seconds of ours and of the peer, and the median over the rounds of peer / ours.

    >>> median_ratio([(1.0, 2.0), (2.0, 3.0), (1.0, 5.0)])
    (1.0, 3.0, 2.0)
    """
    ours, peer = (statistics.median(side) for side in zip(*pairs, strict=True))
    return ours, peer, statistics.median(b / a for a, b in pairs)


# ---- memory from outside


class Memory:
    """The most that a process and its descendants held at once; pages that several hold are shared out among them."""

    def __init__(self, pid: int) -> None:
        self.pid, self.peak_mb = pid, 0.0

    def look(self) -> None:
        """Takes in what they hold now."""
        total = 0
        try:
            root = psutil.Process(self.pid)
            for one in (root, *root.children(recursive=True)):
                total += _held(one)
        except psutil.Error:
            return
        self.peak_mb = max(self.peak_mb, total / MB)


def _held(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except psutil.Error:
        return 0  # it has just ended


@contextmanager
def watched(pid: int) -> Iterator[Memory]:
    """Looks again and again while the block runs."""
    memory, done = Memory(pid), threading.Event()

    def look() -> None:
        while not done.wait(SAMPLE_S):
            memory.look()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        done.set()
        thread.join()


def measured(command: Sequence[str | Path], environment: Mapping[str, str]) -> tuple[float, float]:
    """Seconds and peak MB of a command, start included.

    Raises:
        CalledProcessError: it failed.
    """
    start = time.perf_counter()
    environment = {**os.environ, **ENVIRONMENT, **environment}
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env=environment)  # fmt: skip
    with watched(process.pid) as memory:
        code = process.wait()
    if code:
        raise subprocess.CalledProcessError(code, [str(part) for part in command[:3]])
    return time.perf_counter() - start, memory.peak_mb
