"""From matplotlib to SVG that is the same every time and follows the page's light or dark colours.

Only the object interface is used (no pyplot), so drawing leaves no state behind and works in threads and servers.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Two colours that are used for nothing else: in the SVG they become the colour of the surrounding text.
INK, FAINT = "#010203", "#7f8081"

SIDE_MM = 86.0  # width and height of a figure on a page: one column of a journal; those of a structure stand in a row
INCH_MM = 25.4

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, searchable, readable aloud
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.parse_math": False,  # a dollar sign in a rater's name is a dollar sign
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.titlesize": 10.0,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "legend.frameon": False,
    "svg.hashsalt": "medseg",
}
Arguments = ParamSpec("Arguments")


def styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Runs a drawing function under medseg's style and puts matplotlib's settings back afterwards."""

    @wraps(draw)
    def drawn(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return drawn


def new_figure(width_mm: float, height_mm: float) -> Figure:
    """An empty figure without ground."""
    figure = Figure(figsize=(width_mm / INCH_MM, height_mm / INCH_MM), layout="constrained", facecolor="none")
    FigureCanvasSVG(figure)
    return figure


def to_svg(figure: Figure, name: str = "figure") -> str:
    """The figure as one SVG element, byte for byte the same for the same figure and name.

    Args:
        figure: what one of the functions of `figures` returned.
        name: put before every id, so that several drawings on one page do not refer to each other's parts.
    """
    stream = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # The text stays text, so whoever shows the page brings the letters that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(stream, format="svg", metadata=nothing, transparent=True)
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r'(<g) id="[a-zA-Z0-9_.]+"', r"\1", svg)  # names of matplotlib's parts; nothing refers to them
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{re.sub(r'[^a-zA-Z0-9]', '-', name)}-", svg)
    svg = svg.replace(INK, "currentColor").replace("xlink:href", "href")
    return re.sub(r"\n\s*", "\n", svg)
