"""A fault that pydantic found in settings, told as one line that names file, line, column and key."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from medseg.errors import ConfigError

Key = tuple[str | int, ...]
SHOWN_CHARACTERS = 60  # a longer value would bury the rest of the line


def as_config_error(
    error: ValidationError, schema: type[BaseModel], data: Mapping[str, Any], source: str, overridden: Iterable[str]
) -> ConfigError:
    """The most telling fault of `error` as a ConfigError; an unknown key comes first, as it often explains the rest."""
    faults = error.errors(include_url=False)
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    key = _visible_key(fault["loc"], data)
    if fault["type"] == "missing" and isinstance(key[-1], int):  # a fixed-length list that is too short
        return _value_error(key[:-1], _place(data, key[:-1], source, overridden), "more values", _at(data, key[:-1]))
    dotted, where, context = _dotted(key), _place(data, key, source, overridden), fault.get("ctx", {})
    inside = next((override for override in overridden if override.startswith(f"{dotted}.")), None)
    if inside and fault["type"] in ("extra_forbidden", "value_error"):  # the group is wrong, and an override made it so
        where = f"override {inside}"
    match fault["type"]:
        case "extra_forbidden":
            known = _known_keys(schema, key[:-1], data)
            what = f"{dotted}: unknown key{nearest(str(key[-1]), known)}"
            return ConfigError(what, where=where, expected=_one_of(known))
        case "missing":
            return ConfigError(f"{dotted}: missing", where=where, do=f"Add `{key[-1]}:`.")
        case "union_tag_invalid":
            known, got = _known_names(schema, key, data), str(context["tag"])
            what = f"{dotted}.name: unknown name{nearest(got, known)}"
            where = _place(data, (*key, "name"), source, overridden)
            return ConfigError(what, where=where, expected=_one_of(known), got=_shown(got))
        case "union_tag_not_found":
            expected = f"`name:` with {_one_of(_known_names(schema, key, data))}"
            return ConfigError(f"{dotted}.name: missing", where=where, expected=expected)
        case "value_error" | "assertion_error":  # a validator of ours, whose message is a whole statement
            return ConfigError(f"{dotted}: {context['error']}".removeprefix(": "), where=where)
        case _:
            return _value_error(key, where, _expected(fault), fault["input"])


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint such as ` (did you mean 'optim'?)`, or an empty string.

    >>> nearest("optm", ["optim", "steps"])
    " (did you mean 'optim'?)"
    """
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{match[0]}'?)" if match else ""


def _value_error(key: Key, where: str, expected: str, got: Any) -> ConfigError:
    what = f"{_dotted(key)}: wrong value" if key else "wrong value"
    return ConfigError(what, where=where, expected=expected, got=_shown(got))


def _expected(fault: Any) -> str:
    """Pydantic's message as a phrase that follows the word `expected`."""
    context = fault.get("ctx", {})
    match fault["type"]:
        case "model_type" | "model_attributes_type" | "dict_type":
            return "a group of `key: value` lines"
        case "tuple_type" | "list_type":
            return "a list"
        case "too_long":
            return f"at most {context['max_length']} values"
        case "too_short":
            return f"at least {context['min_length']} values"
    return fault["msg"].removeprefix("Input should be ").split(", unable to")[0].split(", got")[0]


def _shown(value: Any) -> str:
    """A value as it may stand in a message: short ones whole, others by what they are."""
    text = repr(_unwrapped(value))
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return {Mapping: "a mapping", Sequence: "a list"}.get(_kind(value), f"{text[:SHOWN_CHARACTERS]}...")


def _kind(value: Any) -> type | None:
    if isinstance(value, Mapping):
        return Mapping
    return Sequence if isinstance(value, Sequence) and not isinstance(value, str) else None


def _unwrapped(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _unwrapped(item) for key, item in value.items()}
    return [_unwrapped(item) for item in value] if _kind(value) is Sequence else value


def _one_of(known: Sequence[str]) -> str:
    return "one of " + ", ".join(known) if known else ""


def _dotted(key: Key) -> str:
    return ".".join(str(part) for part in key)


# ---- where it stands in the file


def _visible_key(location: Sequence[str | int], data: Any) -> Key:
    """Drops the union tags that pydantic puts into a location but that do not stand in the file."""
    key: list[str | int] = []
    for index, part in enumerate(location):
        if isinstance(data, Mapping):
            tag = data.get("name") == part and part not in data
            if part in data or (index == len(location) - 1 and not tag):
                key.append(part)
                data = data.get(part)
        elif _kind(data) is Sequence and isinstance(part, int):
            key.append(part)
            data = data[part] if part < len(data) else None
    return tuple(key)


def _at(data: Any, key: Key) -> Any:
    for part in key:
        data = data[part]
    return data


def _place(data: Any, key: Key, source: str, overridden: Iterable[str] = ()) -> str:
    """`file:line:column` of a key, or of its nearest ancestor that stands in the file; or the override that set it."""
    dotted = _dotted(key)
    for override in overridden:
        if f"{dotted}.".startswith(f"{override}."):
            return f"override {override}"
    if not isinstance(data, CommentedMap):
        return source
    line = column = 0
    for part in key:
        if isinstance(data, CommentedMap) and part in data:
            line, column = data.lc.key(part) if part in (data.lc.data or {}) else (line, column)
        elif isinstance(data, CommentedSeq) and isinstance(part, int) and part < len(data):
            line, column = data.lc.item(part) if part in (data.lc.data or {}) else (line, column)
        else:
            break
        data = data[part]
    return f"{source}:{line + 1}:{column + 1}"


# ---- what the schema knows at that place


def _known_keys(schema: type[BaseModel], key: Key, data: Any) -> list[str]:
    """Field names of the Config that stands at `key`."""
    found = _config(*_annotation(schema, key, data))
    return sorted(field.alias or name for name, field in found.model_fields.items()) if found else []


def _known_names(schema: type[BaseModel], key: Key, data: Any) -> list[str]:
    """Names that the tagged union at `key` knows."""
    annotation, _ = _annotation(schema, key, data)
    return sorted(name for option in _options(annotation) if _is_config(option) for name in _names(option))


def _annotation(schema: Any, key: Key, data: Any) -> tuple[Any, Any]:
    """Type and data at `key`, walked down together because the data choose the member of a union."""
    for part in key:
        found = _config(schema, data)
        if found:
            field = found.model_fields.get(str(part))
            schema = field.annotation if field else None
        else:
            schema = next((item for item in (_item(option, part) for option in _options(schema)) if item), None)
        known = part in data if isinstance(data, Mapping) else _kind(data) is Sequence
        data = data[part] if known else None
    return schema, data


def _item(annotation: Any, part: str | int) -> Any:
    """The type of one item of a tuple, list or dictionary type."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if not (isinstance(origin, type) and arguments):
        return None
    if issubclass(origin, Mapping):
        return arguments[1]
    if origin is tuple and isinstance(part, int) and Ellipsis not in arguments:
        return arguments[part] if part < len(arguments) else None
    return arguments[0] if issubclass(origin, Sequence) else None


def _config(annotation: Any, data: Any) -> type[BaseModel] | None:
    """The Config that `data` is checked against; in a tagged union the one whose name the data give."""
    members = [option for option in _options(annotation) if _is_config(option)]
    name = data.get("name") if isinstance(data, Mapping) else None
    return next((member for member in members if name in _names(member)), members[0] if members else None)


def _options(annotation: Any) -> Iterator[Any]:
    """The members of a union, Optional and Annotated looked through."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        yield from _options(arguments[0])
    elif origin in (typing.Union, types.UnionType):
        for argument in arguments:
            yield from _options(argument)
    else:
        yield annotation


def _names(config: type[BaseModel]) -> tuple[str, ...]:
    field = config.model_fields.get("name")
    return typing.get_args(field.annotation) if field and typing.get_origin(field.annotation) is typing.Literal else ()


def _is_config(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
