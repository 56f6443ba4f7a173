"""Typed, frozen settings: YAML in and out, dotted overrides, and errors that name file, line and key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from medseg.config_faults import as_config_error, nearest
from medseg.errors import ConfigError, FileReadError
from medseg.files import write_text

__all__ = [
    "Config",
    "apply_overrides",
    "build_config",
    "dump_yaml",
    "nearest",
    "read_config",
    "read_yaml",
    "write_config",
]

PLAIN_WORD = re.compile(r"[A-Za-z_./][\w./ -]*")
MAX_NODES = 2_000_000  # values in a file; a data set of 10,000 cases and five raters has 200,000
C = TypeVar("C", bound="Config")


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
        told = str(getattr(error, "problem", None) or "unreadable").splitlines()[0]
        problem = told.partition(" with value ")[0][:200]  # of a key that is there twice, all that stands below it
        raise ConfigError(f"not valid YAML: {problem}", where=place) from error
    except (RecursionError, TypeError, ValueError) as error:  # nested a thousand deep, a list as a key, a year 99999
        raise ConfigError(f"not valid YAML ({type(error).__name__})", where=path.name) from None
    if _node_count(data, {}) > MAX_NODES:
        raise ConfigError("aliases make the file larger than any settings", where=path.name,
                          expected=f"at most {MAX_NODES} values", do="Write the values out.")  # fmt: skip
    if not isinstance(data, CommentedMap):
        raise ConfigError("not a mapping", where=path.name, expected="`key: value` lines")
    return data


def _node_count(node: Any, known: dict[int, int]) -> int:
    """Values in a tree whose aliases are written out; each is counted once and remembered."""
    if not isinstance(node, Mapping | list):
        return 1
    if id(node) not in known:
        parts = node.values() if isinstance(node, Mapping) else node
        known[id(node)] = 1 + sum(_node_count(part, known) for part in parts)
    return known[id(node)]


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
        raise as_config_error(error, schema, data, source, tuple(overridden)) from None
    except RecursionError:
        raise ConfigError("a YAML alias contains itself", where=source) from None


def apply_overrides(data: CommentedMap, overrides: Sequence[str]) -> list[str]:
    """Sets `a.b=value` pairs (values are YAML) in `data` and returns their dotted keys.

    Raises:
        ConfigError: not of that form, or the way to the key leads through a list or a plain value.
    """
    keys = []
    for override in overrides:
        dotted, equals, text = override.partition("=")
        if not equals or not all(dotted.split(".")):
            raise ConfigError("an override is not of the form key=value", where=override, expected="training.steps=500")
        *parents, last = dotted.split(".")
        try:
            value = YAML(typ="safe", pure=True).load(text)
        except YAMLError as error:
            raise ConfigError("the value is not valid YAML", where=f"override {override}") from error
        _group(data, parents, override)[last] = value
        keys.append(dotted)
    return keys


def _group(data: Any, parents: Sequence[str], override: str) -> MutableMapping[str, Any]:
    """The mapping inside `data` that `parents` lead to; groups that are not there yet are made."""
    for parent in parents:
        if data.get(parent) is None:
            data[parent] = CommentedMap()
        data = data[parent]
        if not isinstance(data, MutableMapping):
            raise ConfigError(
                f"'{parent}' is no group of keys",
                where=f"override {override}",
                got="a list" if isinstance(data, list) else repr(data),
                do=f"Give its whole value: {'.'.join(parents[: parents.index(parent) + 1])}=...",
            )
    return data


def dump_yaml(data: Mapping[str, Any]) -> str:
    """Writes plain data as YAML text; short lists stay on one line."""
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.width = 110
    stream = StringIO()
    yaml.dump(_quoted(_plain(data)), stream)
    return stream.getvalue()


def write_config(path: str | Path, config: Config) -> None:
    """Writes a config so that `read_config` gives it back."""
    write_text(path, dump_yaml(_name_first(config.model_dump(mode="json"))))


def _name_first(value: Any) -> Any:
    """Plain data in which `name`, which says what the other keys mean, stands before them."""
    if isinstance(value, dict):
        inner = {key: _name_first(item) for key, item in value.items()}
        return {"name": inner.pop("name"), **inner} if "name" in inner else inner
    return [_name_first(item) for item in value] if isinstance(value, list) else value


def _quoted(value: Any) -> Any:
    """Plain data whose unusual words carry quotes: ruamel.yaml leaves `?0` or a line separator bare and misreads it."""
    if isinstance(value, dict):
        return {_quoted(key): _quoted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_quoted(item) for item in value]
    return DoubleQuotedScalarString(value) if isinstance(value, str) and not PLAIN_WORD.fullmatch(value) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        if keys := [key for key in value if isinstance(key, list | tuple | Mapping)]:
            raise ConfigError("a key is a list or a mapping", expected="a word or a number", got=str(list(keys[0])))
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    for kind in (bool, int, float, str):  # ruamel's scalars are subclasses that the YAML writer would decorate
        if isinstance(value, kind):
            return kind(value)
    return value
