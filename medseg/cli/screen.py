"""What the command line shows: plain lines, tables and progress bars; and lists in its arguments."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from medseg.errors import UsageError

NOTE_LETTERS = 30  # of a note beside a bar
Progress = Callable[[str, int, int, str], None]  # what, done, total, note


def say(text: str) -> None:
    """A plain line on standard output, never wrapped or coloured, so that it can be copied and parsed.

    Where nobody reads any more (`medseg train ... | head -3`) the command goes on in silence.
    """
    _print(text, sys.stdout)


def _print(text: str, stream: TextIO) -> None:
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # also for what Python flushes at its end
        os.close(nowhere)


def show(renderable: Any) -> None:
    """A rich table; as wide as the terminal, or 120 columns in a file or pipe."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 120).print(renderable)


@contextmanager
def progress_bars(*, lines: bool = False) -> Iterator[Progress]:
    """Yields `progress(what, done, total, note)`; one bar per `what`, with the time left, on standard error.

    Args:
        lines: without a terminal a plain line now and then; else nothing is shown there.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal and not console.is_dumb_terminal:
        with _bars(console) as progress:
            yield progress
    else:
        yield PlainLines().progress if lines else lambda what, done, total, note: None


@contextmanager
def _bars(console: Any) -> Iterator[Progress]:
    """A bar with a short note beside it, a long one below it."""
    from rich.console import Group
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class Bars(RichProgress):
        def get_renderables(self) -> Iterator[Any]:
            long = [Text(task.fields["below"], style="dim") for task in self.tasks if task.fields["below"]]
            yield Group(self.make_tasks_table(self.tasks), *long)

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False))  # fmt: skip
    tasks: dict[str, Any] = {}
    with Bars(*columns, console=console) as bars:

        def progress(what: str, done: int, total: int, note: str) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total or None, note="", below="")
            fits = len(note) <= NOTE_LETTERS
            bars.update(tasks[what], completed=done, total=total or None, note=note if fits else "",
                        below="" if fits or done == total else note)  # fmt: skip

        yield progress


class PlainLines:
    """Progress as lines on standard error, for logs and pipes: the first and the last step, and one a minute.

    Args:
        seconds: between two lines of the same kind.
        clock: seconds of a clock.
    """

    def __init__(self, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.clock = seconds, clock
        self.begun: dict[str, tuple[float, int]] = {}  # when, and how much was done already
        self.done: dict[str, int] = {}
        self.told: dict[str, float] = {}

    def progress(self, what: str, done: int, total: int, note: str) -> None:
        """Prints `what`, how much is done, the time left and the note, where a line is due."""
        now = self.clock()
        if done <= self.done.get(what, done):  # begins, or begins again
            self.begun[what] = (now, done)
        self.done[what] = done
        begun, before = self.begun[what]
        if what in self.told and now - self.told[what] < self.seconds and done != total:
            return
        self.told[what] = now
        left = (now - begun) / (done - before) * (total - done) if done > before and total > done else 0.0
        parts = [f"{what} {done}" + (f"/{total}" if total else ""), f"left {_clock(left)}" if left else "", note]
        _print(", ".join(filter(None, parts)), sys.stderr)


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> _clock(3725.2)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def names(text: str | None) -> tuple[str, ...] | None:
    """`A,B` as a tuple."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def counting(progress: Callable[[str, int, int, str], None], what: str) -> Callable[[int, int], None]:
    """Adapts `progress` to workflows that only count."""
    return lambda done, total: progress(what, done, total, "")


def values(text: str | None, option: str) -> float | dict[str, float] | None:
    """`0.05` as a number, `liver=0.05,lesion=0.2` as numbers by name.

    Raises:
        UsageError: neither.

    >>> values("liver=0.05,lesion=0.2", "--margin")
    {'liver': 0.05, 'lesion': 0.2}
    """
    if text is None:
        return None
    try:
        if "=" not in text:
            return float(text)
        return {name.strip(): float(value) for name, _, value in (part.rpartition("=") for part in text.split(","))}
    except ValueError:
        word = ", or readers" if option == "--tolerance" else ""
        expected = f"0.05, or liver=0.05,lesion=0.2{word}"
        raise UsageError("no number", where=option, expected=expected, got=text) from None


def triple(text: str | None, option: str) -> tuple[float, float, float] | None:
    """`2,2,4` as three numbers, `2` as the same three times.

    Raises:
        UsageError: neither.

    >>> triple("2,2,4", "--spacing")
    (2.0, 2.0, 4.0)
    """
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
        x, y, z = numbers if len(numbers) > 1 else numbers * 3
    except ValueError:
        raise UsageError("not three numbers", where=option, expected="2,2,4", got=text) from None
    return x, y, z


def by_name(texts: Sequence[str] | None) -> str | dict[str, str] | None:
    """`NAME=VALUE` texts by name; one text without a name as it is.

    Raises:
        UsageError: several texts, and one without a name.

    >>> by_name(["runs/a"]), by_name(["ours=runs/a", "theirs=runs/b"])
    ('runs/a', {'ours': 'runs/a', 'theirs': 'runs/b'})
    """
    if not texts:
        return None
    if len(texts) == 1 and "=" not in texts[0]:
        return texts[0]
    if unnamed := [text for text in texts if "=" not in text]:
        raise UsageError("no name", where=unnamed[0], expected="NAME=VALUE where there are several")
    return dict(text.split("=", 1) for text in texts)
