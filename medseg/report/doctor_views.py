"""A case in three planes with every reader's outlines, as small SVGs for the check's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import escape

from medseg.imaging.volume import Volume
from medseg.report.doctor import TRUTH
from medseg.report.doctor_cuts import Cut, Drawn, choose_cuts
from medseg.report.overlay import outline_path
from medseg.report.palette import Stroke, strokes
from medseg.report.png import slice_url

TITLES = ("axial", "coronal", "sagittal", "axial, enlarged")
LETTERS = "RAS"  # what stands at the left or the top end of a world axis on the page
SIDE = 240.0  # longest side of a plane on the page: four stand side by side
MOST_PIXELS = 240
WIDTHS = (2.2, 1.0)  # of the first and the last reader's line: equal outlines show as bands
LEAST_HEIGHT = 50.0  # of a plane that has room for a letter at its top
RIM = 'fill="#fff" stroke="#000" stroke-width="2" paint-order="stroke"'  # letters that can be read on bone
Pen = tuple[Stroke, float]


def case_views(volume: Volume, drawn: Mapping[str, Drawn], raters: Sequence[str]) -> tuple[str, ...]:
    """Axial, coronal and sagittal SVG in one scale, and small labels enlarged in a fourth; see `choose_cuts`.

    Args:
        drawn: readings on the volume's own grid, by rater; the `truth` is drawn white and dotted.
        raters: all of the data set: each keeps its colour in every case.
    """
    cuts = choose_cuts(volume, [*drawn.values()])
    pens = _pens(raters, drawn)
    common = SIDE / max(volume.geometry.field_of_view_mm)
    return tuple(
        _svg(title, cut, cut.page(volume.hu[cut.box]), _outlines(cut, drawn, pens, zoom), zoom)
        for title, cut in zip(TITLES, cuts, strict=False)
        for zoom in [SIDE / max(cut.size_mm) if title == TITLES[3] else common]
    )


def _pens(raters: Sequence[str], drawn: Mapping[str, Drawn]) -> dict[str, Pen]:
    names = [name for name in drawn if name != TRUTH]
    widths = np.linspace(*WIDTHS, num=max(len(names), 2))
    known = strokes(raters)
    pens = {name: (known[name], float(width)) for name, width in zip(names, widths, strict=False)}
    return pens | {TRUTH: (Stroke("#fff", "1 2"), WIDTHS[1])}


def _svg(title: str, cut: Cut, hu: np.ndarray, outlines: str, zoom: float) -> str:
    width, height = (mm * zoom for mm in cut.size_mm)
    return (
        f'<svg viewBox="0 0 {width:.1f} {height:.1f}" width="{width:.0f}" height="{height:.0f}" role="img" '
        f'font-family="sans-serif" font-size="10"><title>{escape(title)}</title>'
        f'<image width="{width:.1f}" height="{height:.1f}" preserveAspectRatio="none" '
        f'href="{slice_url(hu, MOST_PIXELS)}"/>{outlines}{_letters(cut, width, height)}</svg>'
    )


def _outlines(cut: Cut, drawn: Mapping[str, Drawn], pens: Mapping[str, Pen], zoom: float) -> str:
    """A group of lines for each reading; in each line's title stands whose it is and of what."""
    groups = []
    for name, each in drawn.items():
        stroke, width = pens[name]
        masks = each.shown(cut)
        lines = [
            f'<path d="{outline_path(mask)}"><title>{escape(name)}: {escape(structure)}</title></path>'
            for structure, mask in masks.items()
            if mask.any()
        ]
        if not lines:
            continue
        rows, columns = next(iter(masks.values())).shape
        scale = f"{cut.size_mm[0] * zoom / columns / 2:.4f} {cut.size_mm[1] * zoom / rows / 2:.4f}"
        dash = f' stroke-dasharray="{stroke.dash}"' if stroke.dash else ""
        groups.append(
            f'<g class="outlines" transform="scale({scale})" fill="none" stroke="{stroke.colour}" '
            f'stroke-width="{width:.2g}"{dash} stroke-linejoin="round">{"".join(lines)}</g>'
        )
    return "".join(groups)


def _letters(cut: Cut, width: float, height: float) -> str:
    left, top = (LETTERS[world] for world in cut.worlds)
    above = f'<text x="{width / 2:.0f}" y="11" text-anchor="middle" {RIM}>{top}</text>' if height > LEAST_HEIGHT else ""
    return f'<text x="3" y="{height / 2 + 4:.0f}" {RIM}>{left}</text>{above}'
