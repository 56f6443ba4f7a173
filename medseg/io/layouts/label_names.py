"""Names of label values: from an option, and from the label tables of nnU-Net and the Decathlon."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.config import read_yaml
from medseg.errors import FileReadError, LabelError, UsageError
from medseg.imaging.labels import BACKGROUND, LabelSet
from medseg.io.layouts.region_table import RegionTable

IGNORE = "ignore"
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,9}")
LONGEST = 80  # characters of somebody's file that a message repeats
FORM = "liver=1,kidney=2 or a YAML file with `name: value` lines"


def build_label_set(
    values: Mapping[str, int], *, ignore: int | None = None, pairs: tuple[tuple[str, str], ...] = (), where: str = ""
) -> LabelSet:
    """A label set in ascending order of the values; a missing background gets 0.

    Raises:
        LabelError: two names for one value, the background is not 0, or there is no other label.
    """
    whole = {BACKGROUND: 0, **values}
    if whole[BACKGROUND] != 0:
        raise LabelError("the background must have the value 0", where=where, got=str(whole[BACKGROUND]))
    if len(whole) == 1:
        raise LabelError("no label besides the background", where=where, expected="at least one structure")
    try:
        return LabelSet(dict(sorted(whole.items(), key=lambda item: item[1])), pairs, ignore)
    except LabelError as error:
        raise LabelError(error.what, where=where, expected=error.expected, got=error.got) from None


def given_labels(option: LabelSet | str | Path | None) -> LabelSet | None:
    """The label set that the user names: `a=1,b=2`, or a YAML file; `ignore` is the value that nobody labelled.

    Raises:
        UsageError: neither of the two forms.
        LabelError: values that are no integers, or given twice.
        FileReadError, ConfigError: the file is missing or no YAML mapping.

    >>> given_labels("liver=5,ignore=255")
    LabelSet(values={'background': 0, 'liver': 5}, mirror_pairs=(), ignore=255)
    """
    if option is None or isinstance(option, LabelSet):
        return option
    if "=" not in str(option) or os.path.isfile(option):
        return read_label_file(Path(option))
    values: dict[str, Any] = {}
    for part in str(option).split(","):
        name, equals, value = (text.strip() for text in part.partition("="))
        number = whole_number(value)
        if not equals or not name or number is None:
            raise UsageError("not a list of labels", where="--labels", expected=FORM, got=part)
        if name in values:
            raise UsageError(f"the label '{name}' is given twice", where="--labels")
        values[name] = number
    return from_names(values, where="--labels")


def read_label_file(path: Path) -> LabelSet:
    """The label set of a YAML file: `name: value` lines, or those under `labels:` with `ignore` and `mirror_pairs`.

    Raises:
        FileReadError, ConfigError: the file is missing or no YAML mapping.
        LabelError: values that are no integers, or given twice.
    """
    data = read_yaml(path)
    if not isinstance(data.get("labels"), Mapping):
        return from_names(data, where=path.name)
    if unknown := [str(key) for key in data if key not in ("labels", IGNORE, "mirror_pairs")]:
        raise LabelError(f"unknown key '{unknown[0]}'", where=path.name, expected="labels, ignore, mirror_pairs")
    pairs = data.get("mirror_pairs") or []
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise LabelError("mirror_pairs are no pairs of names", where=path.name, expected="[[left, right], ...]")
    named = {**data["labels"], **({IGNORE: data[IGNORE]} if IGNORE in data else {})}
    return from_names(named, where=path.name, pairs=tuple((str(a), str(b)) for a, b in pairs))


def from_names(names: Mapping[Any, Any], *, where: str, pairs: tuple[tuple[str, str], ...] = ()) -> LabelSet:
    """The label set of a name-to-value table; the name `ignore` is the value that nobody labelled.

    Raises:
        LabelError: a value is no integer, or is given twice.
    """
    values = {str(name): _integer(value, str(name), where) for name, value in names.items()}
    ignore = values.pop(IGNORE, None)
    return build_label_set(values, ignore=ignore, pairs=pairs, where=where)


def from_values(names: Mapping[str, Any], *, where: str) -> LabelSet:
    """The label set of a value-to-name table (`"1": "liver"`), as the Decathlon and nnU-Net v1 write it.

    The value 0 is the background whatever its name.

    Raises:
        LabelError: a key is no integer, or a name is given twice.
    """
    values: dict[str, int] = {}
    for key, name in names.items():
        value = whole_number(key)
        if value is None or not isinstance(name, str) or not name.strip():
            raise LabelError("not a table of values and names", where=where, expected='"1": "liver"',
                             got=f'"{key}": {name!r}'[:LONGEST])  # fmt: skip
        name = BACKGROUND if value == 0 else name.strip()
        if name in values:
            raise LabelError(f"two values have the name '{name}'", where=where, got=f"{values[name]} and {key}")
        values[name] = value
    return build_label_set(values, where=where)


def from_nnunet(table: Any, class_order: Any, *, where: str) -> tuple[LabelSet, RegionTable | None]:
    """Label set and regions of nnU-Net's `labels`, in either version's form.

    A name with one value is a label. A name with a list of values is a region. A value that only regions hold gets a
    name of its own, `<smallest region>_<value>`, so that nothing of the files is lost.

    Raises:
        LabelError: the table contradicts itself or nnU-Net's rules.
    """
    if not isinstance(table, dict) or not table:
        raise LabelError("no labels", where=where, expected='"labels": {"background": 0, "liver": 1}')
    if all(isinstance(value, str) for value in table.values()):
        return from_values(table, where=where), None
    entries = {name: _values(value, name, where) for name, value in table.items()}
    if entries.pop(BACKGROUND, (0,)) != (0,):
        raise LabelError("the background must have the value 0", where=where)
    ignore = entries.pop(IGNORE, ())
    used = sorted({value for values in entries.values() for value in values})
    if len(ignore) > 1 or (ignore and used and ignore[0] <= used[-1]):
        raise LabelError("the ignore label must be one value above all others", where=where,
                         expected=f"above {used[-1]}" if used else "one value", got=str(list(ignore)))  # fmt: skip
    single = {name: values[0] for name, values in entries.items() if len(values) == 1}
    several = {name: values for name, values in entries.items() if len(values) > 1}
    if 0 in used:
        raise LabelError("a label or region contains the background value 0", where=where)
    for value in sorted(set(used) - set(single.values())):
        name = f"{_smallest(several, value)}_{value}"
        if name in entries:
            raise LabelError(f"'{name}' is already a name, and value {value} has none", where=where,
                             do=f"Name value {value} in the labels.")  # fmt: skip
        single[name] = value
    labels = build_label_set(single, ignore=ignore[0] if ignore else None, where=where)
    return labels, _regions(entries, class_order, where) if several else None


def _smallest(regions: Mapping[str, tuple[int, ...]], value: int) -> str:
    """The region of fewest values that holds a value; the first of several."""
    return min((name for name, values in regions.items() if value in values), key=lambda name: len(regions[name]))


def _regions(entries: Mapping[str, tuple[int, ...]], class_order: Any, where: str) -> RegionTable:
    order = () if class_order is None else _values(class_order, "regions_class_order", where)
    if order and len(order) != len(entries):
        raise LabelError("regions_class_order does not fit the regions", where=where,
                         expected=f"{len(entries)} values", got=str(len(order)))  # fmt: skip
    return RegionTable(dict(entries), order)


def _values(value: Any, name: str, where: str) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise LabelError(f"'{name}' has no value", where=where, expected="an integer or a list of integers")
    return tuple(_integer(each, name, where) for each in values)


def _integer(value: Any, name: str, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise LabelError(f"the value of '{name}' is no integer", where=where, got=repr(value)[:LONGEST])
    return int(value)


def whole_number(text: str) -> int | None:
    """The integer that a text spells, of at most nine digits, or None.

    >>> whole_number(" 12 "), whole_number("1.5")
    (12, None)
    """
    return int(text) if WHOLE_NUMBER.fullmatch(text.strip()) else None


def known_labels(names: tuple[str, ...] | None, labels: LabelSet, option: str) -> None:
    """Refuses names that are no structure of the label set.

    Raises:
        LabelError: an unknown name.
    """
    for name in names or ():
        if name not in labels.foreground:
            raise LabelError(f"unknown label '{name}'", where=option, expected="one of " + ", ".join(labels.foreground))


def required_labels(option: LabelSet | str | Path | None, where: str) -> LabelSet:
    """The label set that the user names, where the layout itself has no names.

    Raises:
        FileReadError: none is given.
        UsageError, LabelError: as `given_labels`.
    """
    if (labels := given_labels(option)) is None:
        raise FileReadError("nothing names the label values", where=where, do=f"Pass --labels: {FORM}.")
    return labels
