"""What the command line shows: plain lines, tables and progress bars; and lists in its arguments."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from medseg.errors import UsageError


def say(text: str) -> None:
    """A plain line on standard output, never wrapped or coloured, so that it can be copied and parsed."""
    print(text, flush=True)


def show(renderable: Any) -> None:
    """A rich table; as wide as the terminal, or 120 columns in a file or pipe."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 120).print(renderable)


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int, str], None]]:
    """Yields `progress(what, done, total, note)`; one bar per `what`, with the time left, on standard error."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))  # fmt: skip
    tasks: dict[str, Any] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:

        def progress(what: str, done: int, total: int, note: str) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total or None, note="")
            bars.update(tasks[what], completed=done, total=total or None, note=note)

        yield progress


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
