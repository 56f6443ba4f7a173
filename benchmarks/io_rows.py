"""Two ways to do the same work, timed in turns in one process, and the verdict as a row."""

from __future__ import annotations

import gc
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from medseg.errors import MedsegError

FAILURES = (
    ImportError, OSError, RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError,
    ArithmeticError, subprocess.SubprocessError, MedsegError,
)  # fmt: skip


MOST_TURNS = 5  # times the runs asked for, however fast both sides are


@dataclass(frozen=True)
class Comparison:
    """The same work done by us and by a peer; `difference` says in words how two results differ, "" when they agree."""

    ours: Callable[[], Any]
    peer: Callable[[], Any]
    difference: Callable[[Any, Any], str]


@dataclass(frozen=True)
class Row:
    """One measured target.

    Args:
        ours, peer: medians, in `unit`; None where that side did not run.
        target: the least ratio peer / ours that is asked for; a larger ratio is better for time and for memory.
        reason: why the target counts as not met although it may be fast: a side that failed, or different results.
        failed: our own side did not run.
    """

    name: str
    target: float
    ours: float | None = None
    peer: float | None = None
    unit: str = "s"
    reason: str = ""
    failed: bool = False

    @property
    def ratio(self) -> float | None:
        return self.peer / self.ours if self.ours and self.peer is not None else None

    @property
    def met(self) -> bool:
        return not self.reason and self.ratio is not None and self.ratio >= self.target

    def as_json(self) -> dict[str, Any]:
        facts = {
            "name": self.name, "ours": _rounded(self.ours), "peer": _rounded(self.peer), "ratio": _rounded(self.ratio),
            "target": _rounded(self.target), "met": self.met, "unit": self.unit,
        }  # fmt: skip
        return facts | ({"reason": self.reason} if self.reason else {})

    def as_text(self) -> str:
        def shown(value: float | None) -> str:
            return "-" if value is None else f"{value:.3g}"

        verdict = "met" if self.met else "NOT MET"
        line = f"{self.name:<30} {shown(self.ours):>8} {shown(self.peer):>8} {self.unit:<3}"
        line += f" {shown(self.ratio):>7} {self.target:>7.3g}  {verdict}"
        return f"{line} ({self.reason})" if self.reason else line


HEADER = f"{'':<30} {'ours':>8} {'peer':>8} {'':<3} {'ratio':>7} {'target':>7}"


@dataclass(frozen=True)
class Effort:
    """How often the two sides run: `runs` times each, more when that took less than `least_s`, fewer (but two) when it
    takes more than `most_s`."""

    runs: int = 5
    least_s: float = 1.0
    most_s: float = 60.0

    def suffices(self, turns: int, elapsed_s: float) -> bool:
        if turns < self.runs:
            return turns >= 2 and elapsed_s > self.most_s
        return elapsed_s > self.least_s or turns >= MOST_TURNS * self.runs


def measure(name: str, target: float, build: Callable[[], Comparison], effort: Effort) -> Row:
    """The row of a comparison: one run of each side to warm up and to compare results, then runs in turns.

    Args:
        build: makes the inputs; what it raises is our own failure.
    """
    try:
        comparison = build()
        own = comparison.ours()
    except FAILURES as error:
        return Row(name, target, reason=f"medseg failed: {told(error)}", failed=True)
    try:
        reason = comparison.difference(own, comparison.peer())
    except FAILURES as error:
        del own
        return Row(name, target, ours=_alone(comparison.ours, effort.runs), reason=f"the peer failed: {told(error)}")
    del own
    ours, peer = in_turns(comparison.ours, comparison.peer, effort)
    return Row(name, target, statistics.median(ours), statistics.median(peer), reason=reason)


def in_turns(ours: Callable[[], Any], peer: Callable[[], Any], effort: Effort) -> tuple[list[float], list[float]]:
    """Seconds of each run of both, whoever went second last time going first, so that a drift in load hits both."""
    seconds: tuple[list[float], list[float]] = ([], [])
    start = time.perf_counter()
    while not effort.suffices(len(seconds[0]), time.perf_counter() - start):
        order = ((0, 1), (1, 0))[len(seconds[0]) % 2]
        for side in order:
            seconds[side].append(seconds_of((ours, peer)[side]))
    return seconds


def seconds_of(call: Callable[[], Any]) -> float:
    """Seconds of one call; the result is freed outside of them, and garbage is collected before."""
    gc.collect()
    start = time.perf_counter()
    result = call()
    end = time.perf_counter()
    del result
    return end - start


def _alone(call: Callable[[], Any], runs: int) -> float:
    return statistics.median(seconds_of(call) for _ in range(runs))


def told(error: BaseException) -> str:
    """One line; a path of this machine in it is of no use to a reader elsewhere, so only the first line is kept."""
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": ")


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
