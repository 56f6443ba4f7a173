"""Two augmentations timed in turns on the same draws, and the verdict as a row."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from io_rows import FAILURES, Row


@dataclass(frozen=True)
class Side:
    """One way to augment.

    Args:
        prepare: the input of a draw, with whatever random state the draw stands for; not timed.
        run: the augmentation itself; gives (image, labels) as arrays or tensors.
    """

    prepare: Callable[[int], Any]
    run: Callable[[Any], tuple[Any, Any]]

    def result(self, draw: int) -> tuple[Any, Any]:
        """Image and labels of a draw."""
        return self.run(self.prepare(draw))


@dataclass(frozen=True)
class Contest:
    """The same work by us and by a peer.

    Args:
        draws: what one round is made of; the round's seconds are the mean over them. None: one draw a round, another
            one each time.
    """

    ours: Side
    peer: Side
    draws: tuple[int, ...] | None = None

    def of_round(self, number: int) -> tuple[int, ...]:
        """The draws of a round."""
        return (number,) if self.draws is None else self.draws


@dataclass(frozen=True)
class PairedRow(Row):
    """As `Row`, its ratio the median of the ratios of single rounds, so that a slow minute hits both sides of a ratio.

    Args:
        paired: that median; None where a side did not run.
    """

    paired: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.paired


@dataclass(frozen=True)
class Rounds:
    """How many rounds a row gets: `most`, fewer (but one) when they took longer than `budget_s` altogether."""

    most: int
    budget_s: float


def measure(name: str, target: float, build: Callable[[], Contest], rounds: Rounds) -> Row:
    """The row of a contest: one draw of each side to warm up and to compare shapes, then rounds in turns.

    A peer that needs more than a third of the budget for its first draw keeps that one as its first round.
    """
    try:
        contest = build()
        own = _shapes(contest.ours.result(0))
        first_s = _seconds(contest.ours, (0,))
    except FAILURES as error:
        return PairedRow(name, target, reason=f"medseg failed: {_told(error)}", failed=True)
    try:
        start = time.perf_counter()
        theirs = _shapes(contest.peer.result(0))
        warm_s = time.perf_counter() - start
    except FAILURES as error:
        return PairedRow(name, target, ours=first_s, reason=f"the peer failed: {_told(error)}")
    pairs = [(first_s, warm_s)] if warm_s > rounds.budget_s / 3 else in_turns(contest, rounds)
    ratio = statistics.median(peer / ours for ours, peer in pairs)
    ours, peer = (statistics.median(side) for side in zip(*pairs, strict=True))
    return PairedRow(name, target, ours, peer, "s", "" if own == theirs else f"shapes {own} and {theirs}", paired=ratio)


def in_turns(contest: Contest, rounds: Rounds) -> list[tuple[float, float]]:
    """Mean seconds a draw of both sides, round by round; who went second last time goes first."""
    gc.collect()
    gc.freeze()  # what the libraries made at import is not looked through before each draw again: 0.2 s every time
    try:
        return _rounds(contest, rounds)
    finally:
        gc.unfreeze()


def _rounds(contest: Contest, rounds: Rounds) -> list[tuple[float, float]]:
    pairs: list[tuple[float, float]] = []
    start = time.perf_counter()
    while len(pairs) < rounds.most and (not pairs or time.perf_counter() - start < rounds.budget_s):
        draws = contest.of_round(len(pairs))
        if len(draws) > 1:  # draws differ by more than the machine's load does: both sides of each in turns
            ours, peer = zip(*(_both(contest, (draw,), place % 2) for place, draw in enumerate(draws)), strict=True)
            pairs.append((statistics.fmean(ours), statistics.fmean(peer)))
        else:
            pairs.append(_both(contest, draws, len(pairs) % 2))
    return pairs


def _both(contest: Contest, draws: tuple[int, ...], peer_first: int) -> tuple[float, float]:
    if peer_first:
        peer = _seconds(contest.peer, draws)
        return _seconds(contest.ours, draws), peer
    return _seconds(contest.ours, draws), _seconds(contest.peer, draws)


def _seconds(side: Side, draws: tuple[int, ...]) -> float:
    """Mean seconds of a draw; making its input and freeing its result are left out."""
    total = 0.0
    for draw in draws:
        given = side.prepare(draw)
        gc.collect()
        start = time.perf_counter()
        result = side.run(given)
        total += time.perf_counter() - start
        del result, given
    return total / len(draws)


def _shapes(result: tuple[Any, Any]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(part.shape) for part in result)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": ")
