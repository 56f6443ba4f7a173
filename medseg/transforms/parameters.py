"""Drawn parameters as words, as JSON, and back: what was done to a patch can be read, kept and done again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError

from medseg.errors import UsageError


def params_to_data(transform: object, params: Any) -> Any:
    """Parameters as mappings, lists, words and numbers that `json.dumps` takes; None stays None."""
    return None if params is None else _adapter(_params_type(type(transform))).dump_python(params, mode="json")


def params_from_data(transform: object, data: Any) -> Any:
    """What `params_to_data` put out as the transform's own parameters, equal to the first ones bit by bit.

    Raises:
        UsageError: these are not parameters of this transform.
    """
    if data is None:
        return None
    try:
        return _adapter(_params_type(type(transform))).validate_python(data)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = ".".join(map(str, fault["loc"]))
        raise UsageError(f"not parameters of {type(transform).__name__}", where=key, got=fault["msg"]) from error


def describe_params(name: str, params: Any) -> str:
    """One line for people, numbers to four digits.

    Example:
        >>> from medseg.transforms.flip import FlipParams
        >>> describe_params("flip", FlipParams((0, 2)))
        'flip: axes (0, 2)'
        >>> describe_params("flip", None)
        'flip: did not act'
    """
    if params is None:
        return f"{name}: did not act"
    return f"{name}: {', '.join(_parts(params))}"


def _parts(params: Any) -> Iterator[str]:
    for field in fields(params):
        value = getattr(params, field.name)
        if is_dataclass(value):
            yield from _parts(value)
        elif value is not None:
            yield f"{field.name} {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_shown, value))})"
    if is_dataclass(value):
        return f"({', '.join(_parts(value))})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@cache
def _adapter(params_type: Any) -> TypeAdapter[Any]:
    return TypeAdapter(params_type)


@cache
def _params_type(transform: type) -> Any:
    """P of the `RandomTransform[P]` that a class comes from."""
    for base in transform.__mro__:
        for generic in base.__dict__.get("__orig_bases__", ()):
            found = get_args(generic)
            if found and not isinstance(found[0], TypeVar):
                return found[0]
    raise UsageError("the transform does not say what its parameters are", where=transform.__name__,
                     do="Derive it from RandomTransform[ItsParameters].")  # fmt: skip
