"""Parameters of a transform in words, with their units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

UNITS = {"_hu": " HU", "_mm": " mm", "_deg": "°", "_ml": " ml", "_percent": " %", "_voxels": " voxels"}
# A seed stands for a field of random numbers and says nothing to a reader; the rest is a setting, nothing drawn.
LEFT_OUT = ("seed", "seeds", "spacing_mm", "patch_shape", "outside_hu", "interpolation")
AXES = "XYZ"
MOST_NUMBERS = 4
RESTING = {"scale": 1.0, "axis_scale": 1.0, "factor": 1.0}


def told_of(name: str, params: Any) -> str:
    """A transform and its parameters in one line: `noise: sigma 11 HU`; its name alone when nothing can be said.

    A parameter called like the transform is not named twice.
    """
    words = name.replace("_", " ")
    phrases = [phrase.removeprefix(f"{words} ") for phrase in told(params)]
    return f"{words}: {', '.join(phrases)}" if phrases else words


def told(params: Any) -> tuple[str, ...]:
    """One phrase for each parameter that changes anything; empty for none.

    Args:
        params: a dataclass of plain numbers, texts, tuples and further dataclasses, units as suffixes of their names.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Turn:
        ...     rotation_deg: tuple[float, ...] = (12.34, -3.0, 0.0)
        ...     shift_mm: tuple[float, ...] = (0.0, 0.0, 0.0)
        ...     axes: tuple[int, ...] = (0, 2)
        >>> told(Turn())
        ('rotation 12.3, −3, 0°', 'axes X, Z')
    """
    found: list[str] = []
    several = len(fields(params)) > 1
    for field in fields(params):
        value = getattr(params, field.name)
        if value is None or field.name in LEFT_OUT or _rests(field.name, value):
            continue
        if several and field.name == "window_hu":  # where a gamma works; what a window step draws
            continue
        if is_dataclass(value):
            found += told(value)
        else:
            found.append(_phrase(field.name, value))
    return tuple(found)


def _rests(name: str, value: Any) -> bool:
    """Whether a parameter leaves the image as it is."""
    stem, _ = _unit(name)
    numbers = value if isinstance(value, tuple) else (value,)
    if not numbers or not all(isinstance(number, int | float) for number in numbers) or stem in ("axes", "axis"):
        return not numbers
    return all(number == RESTING.get(stem, 0.0) for number in numbers)


def _phrase(name: str, value: Any) -> str:
    stem, unit = _unit(name)
    words = stem.replace("_", " ")
    if stem in ("axes", "axis"):
        places = value if isinstance(value, tuple) else (value,)
        return f"{words} {', '.join(AXES[place] if place in (0, 1, 2) else str(place) for place in places)}"
    if isinstance(value, bool):
        return words
    if isinstance(value, tuple):
        return _several(words, value, unit)
    return f"{words} {value if isinstance(value, str) else _number(value)}{unit}"


def _several(words: str, values: Sequence[Any], unit: str) -> str:
    """Up to four numbers or texts as they are; more of them, and whatever has parts of its own, are counted."""
    if len(values) > MOST_NUMBERS or not all(isinstance(value, int | float | str) for value in values):
        if not words.endswith("s"):
            return f"{words} of {len(values)} points"
        return f"{len(values)} {words if len(values) > 1 else _singular(words)}"
    shown = ", ".join(value if isinstance(value, str) else _number(value) for value in values)
    return f"{words} {shown}{unit}"


def _singular(words: str) -> str:
    return words[:-2] if words.endswith("xes") else words.removesuffix("s")


def _unit(name: str) -> tuple[str, str]:
    return next(((name.removesuffix(end), unit) for end, unit in UNITS.items() if name.endswith(end)), (name, ""))


def _number(value: float) -> str:
    return (f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}").replace("-", "−")
