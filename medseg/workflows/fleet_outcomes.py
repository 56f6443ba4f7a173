"""What became of the items of a fleet: results in order, what was set aside, and one error for those who want all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rich.table import Table

from medseg.errors import MedsegError, WorkerError
from medseg.workflows.fleet_worker import Reply

Item = TypeVar("Item")
Result = TypeVar("Result")
SHOWN = 20  # items set aside that a table names


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """What became of one item: its result, or the error for which it was set aside.

    Args:
        tries: how often it was begun; 0 when it was finished before, refused for what is there, or given up.
        seconds: of the last try.
    """

    item: Item
    result: Result | None
    error: MedsegError | None
    tries: int
    seconds: float = 0.0


Progress = Callable[[Outcome[Any, Any], int, int], None]
GiveUp = Callable[[Outcome[Any, Any]], MedsegError | None]


def outcome_of(item: Item, reply: Reply, name: str, tries: int) -> Outcome[Item, Any]:
    """The outcome of an item's last try."""
    error = reply.error
    if reply.lost:
        what = "its worker died" + (f" {tries} times" if tries > 1 else "")
        error = WorkerError(what, where=name, got=reply.lost, do="Often memory has run out: try fewer --jobs.")
    elif isinstance(error, WorkerError) and not error.where:
        cause, error = error.__cause__, WorkerError(error.what, where=name, got=error.got, do=error.do)
        error.__cause__ = cause
    return Outcome(item, None if error else reply.result, error, tries, reply.seconds if tries else 0.0)


def results_of(outcomes: Sequence[Outcome[Any, Result]]) -> list[Result]:
    """The results in order.

    Raises:
        MedsegError: items failed: the error of the first, which says how many more there are.
    """
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    if not failed:
        return [outcome.result for outcome in outcomes]  # type: ignore[misc] - a result may be None
    first = failed[0]
    if len(failed) == 1:
        first.outcomes = outcomes
        raise first
    do = f"{first.do} ({len(failed) - 1} more of {len(outcomes)} have errors)".lstrip()
    error = type(first)(first.what, where=first.where, expected=first.expected, got=first.got, do=do)
    error.outcomes = outcomes
    raise error from first.__cause__


def summary_table(outcomes: Sequence[Outcome[Any, Any]], *, title: str, name: Callable[[Any], str] = str) -> Table:
    """One table for the end: how many were done, kept from before and set aside, their seconds, and the errors.

    Seconds are added up over workers; of an item that was tried twice they are those of the last try.
    """
    aside = [outcome for outcome in outcomes if outcome.error is not None]
    good = [outcome for outcome in outcomes if outcome.error is None]
    done, kept = [each for each in good if each.tries], [each for each in good if not each.tries]
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("")
    for column in ("number", "seconds", "seconds each"):
        table.add_column(column, justify="right")
    table.add_column("why")
    for word, some in (("done", done), ("kept", kept), ("set aside", aside)):
        seconds = sum(each.seconds for each in some)
        each_s = f"{seconds / len(some):.1f}" if seconds and some else ""
        table.add_row(word, str(len(some)), f"{seconds:.1f}" if seconds else "", each_s, "")
    for outcome in aside[:SHOWN]:
        tries = f" ({outcome.tries} tries)" if outcome.tries > 1 else ""
        table.add_row(f"  {name(outcome.item)}", "", f"{outcome.seconds:.1f}", "", f"{outcome.error}{tries}")
    if len(aside) > SHOWN:
        table.add_row(f"  and {len(aside) - SHOWN} more", "", "", "", "")
    table.add_row("total", str(len(outcomes)), f"{sum(each.seconds for each in outcomes):.1f}", "", "")
    return table
