"""Regular expressions for names in settings: checked when they are read, matched with whole names in any case."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

LONGEST_NAME = 64  # characters that DICOM allows in a name (LO, PS3.5 6.2)
MAX_REPEATS = 4  # in one expression: a name of 64 characters can be divided between 4 repeats in 45,760 ways
TOKENS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{\d*,?\d*\}|.", re.DOTALL)
REPEAT = re.compile(r"[*+]|\{\d*,\d*\}")  # an exact count such as {2} leaves nothing to try


def checked_pattern(text: str) -> str:
    """The expression itself, if it is one, and cannot take for ever on a name of 64 characters.

    Raises:
        ValueError: saying what is wrong with it.
    """
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    if fault := _slowness(text):
        raise ValueError(f"a regular expression that can take for ever: {fault}")
    return text


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Pattern = Annotated[str, AfterValidator(checked_pattern)]
Patterns = Annotated[tuple[Pattern, ...], BeforeValidator(_listed)]  # one alone needs no list


def matches(patterns: Iterable[str], name: str) -> bool:
    """Whether an expression matches the whole name, in any case; none matches a name of more than 64 characters.

    >>> matches(["liver.*"], "Liver_2"), matches(["liver"], "Liver_2")
    (True, False)
    """
    return len(name) <= LONGEST_NAME and any(_compiled(pattern).fullmatch(name) for pattern in patterns)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _slowness(text: str) -> str:
    """Why matching may take exponential time: a repeat of something that itself repeats or branches; or empty."""
    tokens = TOKENS.findall(text)
    varies, repeats = [False], 0  # for each open group, whether it repeats or branches inside
    for token, after in zip(tokens, [*tokens[1:], ""], strict=True):
        repeated = REPEAT.fullmatch(after) is not None
        repeats += repeated
        if token == "(":
            varies.append(False)
        elif token == ")":
            inner = varies.pop()
            if inner and repeated:
                return "it repeats a group that itself repeats or has alternatives"
            varies[-1] |= inner
        varies[-1] |= repeated or token == "|"
    return f"it has {repeats} repeats, at most {MAX_REPEATS} are allowed" if repeats > MAX_REPEATS else ""
