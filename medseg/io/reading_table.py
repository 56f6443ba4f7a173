"""The cells of a table of readings: a CSV file whose first line names the columns, or YAML with a list of rows."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.config import nearest, read_yaml
from medseg.errors import ConfigError, FileReadError

YAML_SUFFIXES = (".yaml", ".yml")
SUFFIXES = (".csv", ".tsv", *YAML_SUFFIXES)
KEYS = ("schema", "labels", "anonymous", "readings")
SCHEMA = "medseg.readings/1"
DELIMITERS = ",;\t"  # spreadsheets of some countries write a semicolon
MAX_BYTES = 1 << 28  # a row has some 200 bytes


@dataclass(frozen=True)
class Table:
    """Rows as they stand in the file.

    Args:
        source: the file's name.
        columns: all names that occur.
        rows: place in the file and cells by column.
        labels: name to value, or None.
    """

    source: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, Mapping[str, Any]], ...]
    labels: Mapping[str, int] | None = None
    anonymous: bool = False


def is_table(path: str | Path) -> bool:
    """Whether the name is that of a table of readings.

    >>> is_table("readings.csv"), is_table("readings.nii.gz")
    (True, False)
    """
    return Path(path).name.lower().endswith(SUFFIXES)


def read_table(path: Path) -> Table:
    """The table in a file; empty lines are left out.

    Raises:
        FileReadError: no such file, or no text.
        ConfigError: no such table: a column twice, a row with more cells than columns, a key that is not known.
    """
    return _read_yaml(path) if path.name.lower().endswith(YAML_SUFFIXES) else _read_csv(path)


def _read_csv(path: Path) -> Table:
    lines = _text(path).splitlines()
    header = next((line for line in lines if line.strip()), "")
    delimiter = max(DELIMITERS, key=header.count)
    rows: list[tuple[int, list[str]]] = []
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise ConfigError(f"not a CSV table: {error}", where=f"{path.name}:{reader.line_num}") from None
    if not rows:
        raise ConfigError("an empty table", where=path.name, expected="a line that names the columns")
    columns = rows[0][1]
    _check_unique(columns, path.name)
    for line, cells in rows[1:]:
        if len(cells) > len(columns) and any(cells[len(columns) :]):
            raise ConfigError("more cells than columns", where=f"{path.name}:{line}", expected=str(len(columns)),
                              got=str(len(cells)))  # fmt: skip
    named = tuple((str(line), dict(zip(columns, cells, strict=False))) for line, cells in rows[1:])
    return Table(path.name, tuple(columns), named)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FileReadError("larger than any table of readings", where=path.name, expected=f"{MAX_BYTES} bytes")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FileReadError("no such file", where=path.name, do="Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FileReadError(f"cannot be read as text ({type(error).__name__})", where=path.name,
                            do="Save it as CSV in UTF-8.") from None  # fmt: skip


def _read_yaml(path: Path) -> Table:
    data = read_yaml(path)
    for key in data:
        if key not in KEYS:
            raise ConfigError(f"unknown key '{str(key)[:64]}'{nearest(str(key), KEYS)}", where=path.name,
                              expected="some of " + ", ".join(KEYS))  # fmt: skip
    if data.get("schema", SCHEMA) != SCHEMA:
        raise ConfigError("another schema", where=path.name, expected=SCHEMA, got=str(data["schema"])[:64])
    anonymous = data.get("anonymous", False)
    if not isinstance(anonymous, bool):
        raise ConfigError("`anonymous` is neither true nor false", where=path.name)
    rows = data.get("readings")
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ConfigError("no `readings`", where=path.name, expected="a list of rows `{case: ..., rater: ...}`")
    columns = tuple(dict.fromkeys(str(name) for row in rows for name in row))
    cells = tuple((f"readings.{index}", {str(name): row[name] for name in row}) for index, row in enumerate(rows))
    return Table(path.name, columns, cells, _labels(data.get("labels"), path.name), anonymous)


def _labels(table: Any, where: str) -> Mapping[str, int] | None:
    if table is None:
        return None
    if not isinstance(table, Mapping) or any(isinstance(v, bool) or not isinstance(v, int) for v in table.values()):
        raise ConfigError("`labels` is no list of names and values", where=where, expected="`{liver: 1, ...}`")
    return {str(name): int(value) for name, value in table.items()}


def _check_unique(columns: Sequence[str], where: str) -> None:
    for name, count in Counter(columns).items():
        if not name:
            raise ConfigError("a column without a name", where=where)
        if count > 1:
            raise ConfigError(f"column '{name[:64]}' stands {count} times", where=where, expected="once")
