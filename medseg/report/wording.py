"""Numbers, intervals and metric names as they are printed; an undefined value is said to be undefined, never NaN."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from medseg.evaluation.metrics import METRICS

CLASS_MEANINGS: Final = {
    "equivalent": "the whole interval lies between minus and plus the margin",
    "non-inferior": "the whole interval lies above minus the margin",
    "inconclusive": "the interval crosses minus the margin, or a guard lowered the class: more cases would be needed",
    "inferior": "the whole interval lies below minus the margin",
    "descriptive": "no class is given: fewer than 2 readers or 20 patients, no margin, or no variation",
}
UNDEFINED: Final = "not defined"
NARROW: Final = "\u00a0"  # a space at which no line ends
RANGE: Final = re.compile(r"\([+−]?[\d.]+ to [+−]?[\d.]+\)")
MINUS: Final = re.compile(r"(?<![\w-])-(?=\d)")


def metric_name(metric: str) -> str:
    """The metric as printed, with its unit where it has one.

    Example:
        >>> metric_name("hd95"), metric_name("dice")
        ('HD95 (mm)', 'Dice')
    """
    if metric not in METRICS:
        return metric
    unit = METRICS[metric].unit
    return METRICS[metric].title + (f" ({unit})" if unit else "")


def is_distance(metric: str) -> bool:
    """Whether lower is better; a metric that this version does not know is taken as a score."""
    return metric in METRICS and METRICS[metric].is_distance


def finite(value: object) -> float | None:
    """The number, or None for None, NaN, infinity and whatever is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def number(value: object, *, signed: bool = False, n: int | None = None) -> str:
    """Three digits after the point below 10, fewer above; `not defined` for what is not finite.

    Example:
        >>> number(0.91234), number(12.3456), number(-0.02, signed=True), number(None, n=0)
        ('0.912', '12.3', '−0.020', 'not defined (n = 0)')
    """
    known = finite(value)
    if known is None:
        return UNDEFINED if n is None else f"{UNDEFINED} (n = {n})"
    digits = 3 if abs(known) < 10 else 1 if abs(known) < 1000 else 0
    text = f"{abs(known):.{digits}f}"
    sign = "" if float(text) == 0 else "−" if known < 0 else "+" if signed else ""
    return sign + text


def interval(bounds: object, *, signed: bool = False) -> str:
    """`low to high`, or `no interval`.

    Example:
        >>> interval([0.1, 0.25]), interval(None), interval([-0.1, 0.2], signed=True)
        ('0.100 to 0.250', 'no interval', '−0.100 to +0.200')
    """
    pair = known_interval(bounds)
    return "no interval" if pair is None else f"{number(pair[0], signed=signed)} to {number(pair[1], signed=signed)}"


def known_interval(bounds: object) -> tuple[float, float] | None:
    """Low and high when both are finite, else None."""
    if not isinstance(bounds, (list, tuple)) or len(bounds) != 2:
        return None
    low, high = finite(bounds[0]), finite(bounds[1])
    return None if low is None or high is None else (low, high)


def plain(value: object) -> str:
    """Any value of `agreement.json` as words: yes and no, numbers, intervals, lists.

    Example:
        >>> plain(True), plain(3), plain(2.0), plain(None), plain(["A", "B"])
        ('yes', '3', '2', 'not defined', 'A, B')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, float):
        return f"{value:.0f}" if value is not None and value.is_integer() else number(value)
    if isinstance(value, (list, tuple)):
        floats = len(value) == 2 and any(isinstance(item, float) for item in value)
        return interval(value) if floats else ", ".join(plain(item) for item in value) or "none"
    if isinstance(value, Mapping):
        return "; ".join(f"{phrase(key)} {plain(item)}" for key, item in value.items()) or "none"
    return str(value)


def typeset(text: str) -> str:
    """A sentence of the file with minus signs before its numbers, as the tables have them.

    Example:
        >>> typeset("difference -0.012 (-0.03 to 0.01), c-002, 10-60")
        'difference −0.012 (−0.03 to 0.01), c-002, 10-60'
    """
    return MINUS.sub("−", text)


def compact(text: str) -> str:
    """A cell as it is set in a table: brackets hold 95 % intervals; neither they nor `n = 24` nor `52 %` are broken.

    Example:
        >>> compact("0.970 (95 % CI 0.969 to 0.972), n = 24").replace(NARROW, "_")
        '0.970 (0.969_to_0.972), n_=_24'
    """
    text = text.replace("(95 % CI ", "(")
    text = RANGE.sub(lambda found: found[0].replace(" ", NARROW), text)
    return text.replace("n = ", f"n{NARROW}={NARROW}").replace(" %", f"{NARROW}%")


def short(name: object, most: int = 24) -> str:
    """The name, with its middle left out when it is too long to be drawn; tables hold it in full.

    Example:
        >>> short("liver"), short("a_very_long_name_of_a_structure_left")
        ('liver', 'a_very_long_nam…ure_left')
    """
    text = str(name)
    return text if len(text) <= most else text[: most - 9] + "…" + text[-8:]


def structure(label: object) -> str:
    """A label as a heading; a bare value says that it is one.

    Example:
        >>> structure("liver"), structure("1")
        ('liver', 'label 1')
    """
    return f"label {label}" if str(label).isdigit() else short(label)


def phrase(key: object) -> str:
    """A key of the file as words.

    Example:
        >>> phrase("miss_rate"), phrase("ci95"), phrase("volume_ml")
        ('miss rate', '95 % CI', 'volume (ml)')
    """
    text = str(key)
    for unit in ("ml", "mm", "hu"):
        if text.endswith(f"_{unit}"):
            return f"{phrase(text[: -len(unit) - 1])} ({unit.upper() if unit == 'hu' else unit})"
    words = {"ci95": "95 % CI", "p5": "5th percentile"} | {key: metric.title for key, metric in METRICS.items()}
    return words.get(text, text.replace("_", " "))


def flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested values by a joined name, each as words; a value with its interval beside it becomes one entry.

    Example:
        >>> flat({"miss_rate": {"value": 0.1, "ci95": [0.0, 0.2]}, "n": 4})
        {'miss rate': '0.100 (95 % CI 0.000 to 0.200)', 'n': '4'}
    """
    found: dict[str, str] = {}
    for key, value in mapping.items():
        name = f"{prefix} {phrase(key)}".strip()
        if isinstance(value, Mapping) and set(value) <= {"value", "mean", "ci95", "n"} and "ci95" in value:
            found[name] = estimate(value)
        elif isinstance(value, Mapping):
            found |= flat(value, name)
        elif value is not None:  # null stands for a block that was not computed
            found[name] = plain(value)
    return found


def estimate(entry: Mapping[str, Any], *, signed: bool = False) -> str:
    """A value or mean with its interval and n in one phrase."""
    n = entry.get("n")
    text = number(entry.get("value", entry.get("mean")), signed=signed, n=0 if n == 0 else None)
    if known_interval(entry.get("ci95")) is not None:
        text += f" (95 % CI {interval(entry['ci95'], signed=signed)})"
    return text if not n else f"{text}, n = {n}"
