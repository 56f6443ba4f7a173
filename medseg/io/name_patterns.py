"""Regular expressions for names in settings: checked when they are read, matched with whole names in any case.

`re` tries one way after another to match a name; `(a+)+b` can be matched with 64 letters in 2^63 ways. The ways of an
expression are bounded from above here by its form, so that those that could take for ever are refused unmatched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from math import comb
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BeforeValidator

LONGEST_NAME = 64  # characters that DICOM allows in a name (LO, PS3.5 6.2)
MAX_REPEATS = 4  # without an end, in one expression: 64 characters fall to 4 repeats in 814,385 ways
MAX_WAYS = 1 << 22  # some 100 ms
MAX_STEPS = 10_000  # of one way
TOKENS = re.compile(
    r"(?P<flags>\(\?[aimsLu]+\))|(?P<open>\((?:\?(?:[aimsLu]*(?:-[ims]+)?:|P<\w+>|[=!>]|<[=!]))?(?!\?))|(?P<close>\))"
    r"|(?P<bar>\|)|(?P<repeat>(?:[*+?]|\{(?P<low>\d*)(?:(?P<comma>,)(?P<high>\d*))?\}(?<!\{\}))[?+]?)"
    r"|(?P<one>\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?P=\w+\)|[^(])",
    re.DOTALL,
)


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


class _Effort(NamedTuple):
    """An upper bound of what a part of an expression costs.

    Args:
        repeats: repeats without an end; the characters of the name are dealt out to them in every way.
        ways: in which all else can be matched.
        steps: of one way.
    """

    repeats: int = 0
    ways: int = 1
    steps: int = 0

    def then(self, other: _Effort) -> _Effort:
        return _Effort(self.repeats + other.repeats, self.ways * other.ways, self.steps + other.steps).bounded()

    def either(self, other: _Effort) -> _Effort:
        return _Effort(max(self.repeats, other.repeats), self.ways + other.ways, self.steps + other.steps).bounded()

    def times(self, low: int, high: int | None) -> _Effort | None:
        """The part repeated; None where the ways of each repetition are multiplied with those of the next."""
        varies, low = self.repeats > 0 or self.ways > 1, min(low, MAX_STEPS)
        if low == high:
            return _Effort(self.repeats * low, self.ways ** min(low, 64), self.steps * low).bounded()
        if high == 1:
            return _Effort(self.repeats, self.ways + 1, self.steps)
        if varies:
            return None
        if high is None:
            return _Effort(1, 1, self.steps * max(low, 1)).bounded()
        return _Effort(0, min(high - low, LONGEST_NAME) + 1, self.steps * (low + LONGEST_NAME)).bounded()

    def bounded(self) -> _Effort:
        """No larger numbers than it takes to be refused."""
        return _Effort(min(self.repeats, 99), min(self.ways, 2 * MAX_WAYS), min(self.steps, 2 * MAX_STEPS))

    @property
    def fault(self) -> str:
        if self.repeats > MAX_REPEATS:
            return f"it has {self.repeats} repeats, at most {MAX_REPEATS} are allowed"
        if comb(LONGEST_NAME + self.repeats, self.repeats) * self.ways > MAX_WAYS or self.steps > MAX_STEPS:
            return "its repeats, alternatives and optional parts can be combined in too many ways"
        return ""


class _Group(NamedTuple):
    """An open group: the alternatives that are complete, the current one but its last part, and that part."""

    others: _Effort | None = None
    before: _Effort = _Effort()
    last: _Effort = _Effort()

    def add(self, part: _Effort) -> _Group:
        return self._replace(before=self.before.then(self.last), last=part)

    def whole(self) -> _Effort:
        current = self.before.then(self.last)
        return current if self.others is None else self.others.either(current)


def _slowness(text: str) -> str:
    """Why matching may take exponential time; or empty."""
    groups, at = [_Group()], 0
    while at < len(text):
        token = TOKENS.match(text, at)
        if token is None:
            return "it holds a group of an uncommon kind"
        at = token.end()
        if token["open"]:
            groups.append(_Group())
        elif token["close"]:
            part = groups.pop().whole()
            groups[-1] = groups[-1].add(part._replace(steps=part.steps + 1))
        elif token["bar"]:
            groups[-1] = _Group(others=groups[-1].whole())
        elif token["repeat"]:
            repeated = groups[-1].last.times(*_counts(token))
            if repeated is None:
                return "it repeats a group that itself repeats or has alternatives"
            groups[-1] = groups[-1]._replace(last=repeated)
        elif token["one"]:
            groups[-1] = groups[-1].add(_Effort(steps=1))
    return groups[0].whole().fault


def _counts(token: re.Match[str]) -> tuple[int, int | None]:
    """The fewest and the most repetitions that a quantifier asks for; None without an end."""
    sign = token["repeat"][0]
    if sign != "{":
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
    low = int(token["low"] or 0)
    if not token["comma"]:
        return low, low
    return low, int(token["high"]) if token["high"] else None
