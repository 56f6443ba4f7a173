"""Cells of the tables of blocks: intervals, p values and rules as they are printed, and blocks found by their key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medseg.report.tables import Agreement, Cell, Table
from medseg.report.wording import estimate, finite

Entry = Mapping[str, Any]
Rows = list[list[Cell]]


def label_blocks(agreement: Agreement, key: str) -> Iterator[tuple[str, Entry]]:
    for label, entry in agreement["labels"].items():
        if entry.get(key):
            yield label, entry[key]


def model_blocks(agreement: Agreement, key: str) -> Iterator[tuple[str, str, Any]]:
    for label, entry in agreement["labels"].items():
        for model, found in entry.get("models", {}).items():
            if found.get(key):
                yield label, model, found[key]


def volume_blocks(agreement: Agreement) -> Iterator[tuple[str, str, Entry]]:
    for label, entry in agreement["labels"].items():
        blocks = [("reader − reader", entry.get("volume"))]
        blocks += [(f"{model} − reader", found.get("volume")) for model, found in entry.get("models", {}).items()]
        yield from ((label, pairs, block) for pairs, block in blocks if block)


def mean_of(entry: Entry, *, signed: bool = False) -> str:
    """Mean or value with its interval, without n, which has its own column."""
    return estimate({key: entry[key] for key in ("mean", "value", "ci95") if key in entry}, signed=signed)


def value_of(entry: Entry, key: str, *, signed: bool = False) -> str:
    return estimate({"mean": entry.get(key), "ci95": entry.get("ci95")}, signed=signed)


def williams_of(found: Entry) -> str:
    return mean_of(found["williams"]) if found.get("williams") else "not defined for distances"


def part_of(entry: Entry, key: str, name: str) -> Any:
    """A value beside a number, where the file has one."""
    return (entry.get(key) or {}).get(name)


def p_value(value: object) -> str:
    """A p value; small ones as `< 0.001`."""
    known = finite(value)
    return "" if known is None else "< 0.001" if known < 0.001 else f"{known:.3f}"


def share_of(value: object) -> str:
    """A share in per cent; nothing where there is none."""
    known = finite(value)
    return "" if known is None else f"{100 * known:.0f} %"


def rules_text(rules: set[str]) -> str:
    return " ".join(f"{rule[:1].upper()}{rule[1:]}." for rule in sorted(filter(None, rules)))


def table_of(title: str, columns: Sequence[str], rows: Rows, note: str) -> Table | None:
    """The table without columns that are empty in every row; None without rows."""
    if not rows:
        return None
    kept = [place for place in range(len(columns)) if any(row[place] not in ("", None) for row in rows)]
    return Table(title, tuple(columns[k] for k in kept), [[row[k] for k in kept] for row in rows], note)
