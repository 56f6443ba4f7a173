"""Colours that stay apart for colour-blind readers (Okabe and Ito, 2008), given to names in a fixed order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SKY, ORANGE, GREEN, PURPLE, BLUE, YELLOW = "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#0072b2", "#f0e442"
VERMILION, GREY = "#d55e00", "#8a8a8a"

# Vermilion is kept for the model alone; yellow stands last because it is faint on white.
RATER_COLOURS = (SKY, ORANGE, GREEN, PURPLE, BLUE, YELLOW)
MODEL_COLOURS = (VERMILION, BLUE, PURPLE, GREEN)
DASHES = ("", "5 2", "2 2", "7 2 2 2")  # in screen pixels; the next pattern starts when the colours are used up

CLASS_COLOURS = {
    "equivalent": GREEN,
    "non-inferior": BLUE,
    "inconclusive": ORANGE,
    "inferior": VERMILION,
    "descriptive": GREY,
}


@dataclass(frozen=True)
class Stroke:
    """How a name is drawn: a colour and an SVG dash pattern in pixels (empty: a full line)."""

    colour: str
    dash: str = ""


def strokes(raters: Iterable[str], models: Iterable[str] = ()) -> dict[str, Stroke]:
    """Gives every rater and model its stroke; up to six raters differ by colour alone, later ones by dashes too.

    Example:
        >>> strokes(["A", "B"], ["unet"])["unet"]
        Stroke(colour='#d55e00', dash='')
    """
    given = {name: _nth(RATER_COLOURS, place) for place, name in enumerate(raters)}
    return given | {name: _nth(MODEL_COLOURS, place) for place, name in enumerate(models)}


def _nth(colours: tuple[str, ...], place: int) -> Stroke:
    return Stroke(colours[place % len(colours)], DASHES[place // len(colours) % len(DASHES)])
