"""Typed, frozen settings: YAML in and out, dotted overrides, and errors that name file, line and key."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from medseg.errors import ConfigError, FileReadError
from medseg.files import write_text

C = TypeVar("C", bound="Config")
Key = tuple[str | int, ...]


class Config(BaseModel):
    """Base of all settings: immutable, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def read_yaml(path: str | Path) -> CommentedMap:
    """Reads a YAML mapping with the safe subset of the language, keeping line numbers for error messages.

    Raises:
        FileReadError: the file is missing or cannot be read.
        ConfigError: it is no YAML, or not a mapping.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileReadError("no such file", where=path.name, do="Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FileReadError(f"cannot be read as text ({type(error).__name__})", where=path.name) from error
    try:
        data = YAML(typ="rt", pure=True).load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path.name}:{mark.line + 1}:{mark.column + 1}" if mark else path.name
        raise ConfigError(f"not valid YAML: {getattr(error, 'problem', None) or 'unreadable'}", where=place) from error
    if not isinstance(data, CommentedMap):
        raise ConfigError("not a mapping", where=path.name, expected="`key: value` lines")
    return data


def read_config(path: str | Path, schema: type[C], overrides: Sequence[str] = ()) -> C:
    """Reads `path` as `schema`, with `key.sub=value` overrides applied on top through the same checks.

    Raises:
        ConfigError: naming file, line and key, with the nearest known key for a misspelt one.
    """
    data = read_yaml(path)
    overridden = apply_overrides(data, overrides)
    return build_config(schema, data, source=Path(path).name, overridden=overridden)


def build_config(
    schema: type[C], data: Mapping[str, Any], *, source: str = "settings", overridden: Iterable[str] = ()
) -> C:
    """Validates a mapping as `schema`; the first fault becomes a ConfigError."""
    try:
        return schema.model_validate(_plain(data))
    except ValidationError as error:
        raise _as_config_error(error, schema, data, source, set(overridden)) from None


def apply_overrides(data: CommentedMap, overrides: Sequence[str]) -> list[str]:
    """Sets `a.b=value` pairs (values are YAML) in `data` and returns their dotted keys."""
    keys = []
    for override in overrides:
        dotted, equals, text = override.partition("=")
        if not equals or not dotted:
            raise ConfigError("an override is not of the form key=value", where=override, expected="training.steps=500")
        target: Any = data
        *parents, last = dotted.split(".")
        for parent in parents:
            if not isinstance(target.get(parent), Mapping):
                target[parent] = CommentedMap()
            target = target[parent]
        try:
            target[last] = YAML(typ="safe", pure=True).load(text)
        except YAMLError as error:
            raise ConfigError("the value is not valid YAML", where=override) from error
        keys.append(dotted)
    return keys


def dump_yaml(data: Mapping[str, Any]) -> str:
    """Writes plain data as YAML text; short lists stay on one line."""
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.width = 110
    stream = StringIO()
    yaml.dump(_plain(data), stream)
    return stream.getvalue()


def write_config(path: str | Path, config: Config) -> None:
    """Writes a config so that `read_config` gives it back."""
    write_text(path, dump_yaml(config.model_dump(mode="json", exclude_none=True)))


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint such as ` (did you mean 'optim'?)`, or an empty string.

    >>> nearest("optm", ["optim", "steps"])
    " (did you mean 'optim'?)"
    """
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{match[0]}'?)" if match else ""


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    for kind in (bool, int, float, str):  # ruamel's scalars are subclasses that the YAML writer would decorate
        if isinstance(value, kind):
            return kind(value)
    return value


def _as_config_error(
    error: ValidationError, schema: type[Config], data: Mapping[str, Any], source: str, overridden: set[str]
) -> ConfigError:
    faults = error.errors(include_url=False)
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    key = _visible_key(fault["loc"], data)
    dotted = ".".join(str(part) for part in key)
    where = f"override {dotted}" if dotted in overridden else _place(data, key, source)
    if fault["type"] == "extra_forbidden":
        known = _known_keys(schema, key[:-1], data)
        hint = nearest(str(key[-1]), known)
        return ConfigError(
            f"{dotted}: unknown key{hint}", where=where, expected="one of " + ", ".join(known) if known else ""
        )
    if fault["type"] == "missing":
        return ConfigError(f"{dotted}: missing", where=where, do=f"Add `{key[-1]}:`.")
    if fault["type"] == "union_tag_invalid":
        context = fault.get("ctx", {})
        tags = [tag.strip(" '") for tag in str(context.get("expected_tags", "")).split(",")]
        got = str(context.get("tag", ""))
        return ConfigError(f"{dotted}.name: unknown name{nearest(got, tags)}", where=where,
                           expected="one of " + ", ".join(tags), got=repr(got))  # fmt: skip
    shown = repr(fault["input"]) if isinstance(fault["input"], str | int | float | bool | None) else "a " + type(
        fault["input"]
    ).__name__
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return ConfigError(f"{dotted}: wrong value" if dotted else "wrong value", where=where, expected=message, got=shown)


def _visible_key(location: Sequence[str | int], data: Any) -> Key:
    """Drops the union tags that pydantic puts into a location but that do not stand in the file."""
    key: list[str | int] = []
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if isinstance(data, Mapping):
            if part in data or last:
                key.append(part)
                data = data.get(part)
        elif isinstance(data, Sequence) and not isinstance(data, str) and isinstance(part, int) and part < len(data):
            key.append(part)
            data = data[part]
    return tuple(key)


def _place(data: Any, key: Key, source: str) -> str:
    """`file:line:column` of a key, or of its nearest ancestor that stands in the file."""
    line = column = 0
    for part in key:
        if isinstance(data, CommentedMap) and part in data:
            line, column = data.lc.key(part) if part in (data.lc.data or {}) else (line, column)
            data = data[part]
        elif isinstance(data, CommentedSeq) and isinstance(part, int) and part < len(data):
            line, column = data.lc.item(part) if part in (data.lc.data or {}) else (line, column)
            data = data[part]
        else:
            break
    return f"{source}:{line + 1}:{column + 1}"


def _known_keys(schema: Any, parents: Key, data: Any) -> list[str]:
    for part in parents:
        data = data.get(part) if isinstance(data, Mapping) else data[part] if isinstance(part, int) else None
        if isinstance(part, str):
            field = schema.model_fields.get(part) if _is_config(schema) else None
            schema = field.annotation if field else None
        schema = _member(schema, data)
    return sorted(schema.model_fields) if _is_config(schema) else []


def _member(annotation: Any, data: Any) -> Any:
    """The Config inside an annotation: through Optional, Annotated, tuples, dictionaries and tagged unions."""
    if _is_config(annotation):
        return annotation
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType, typing.Annotated) or origin in (tuple, list, dict):
        members = [m for m in (_member(a, data) for a in arguments if not isinstance(a, str)) if _is_config(m)]
        name = data.get("name") if isinstance(data, Mapping) else None
        tagged = [m for m in members if "name" in m.model_fields and m.model_fields["name"].default == name]
        return (tagged or members or [None])[0]
    return None


def _is_config(schema: Any) -> bool:
    return isinstance(schema, type) and issubclass(schema, BaseModel)
