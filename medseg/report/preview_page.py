"""Augmented slices of one case as one HTML file that opens anywhere: no script, no request, pictures inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medseg.report.preview_views import Scene

GENERATOR = '<meta name="generator" content="medseg augment-preview">'


@dataclass(frozen=True)
class Panel:
    """One sample on the page: its planes as SVGs, and what was done to it, one line for each transform that acted."""

    svgs: tuple[str, ...]
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """Panels side by side under a heading, with a line of explanation (may be empty)."""

    title: str
    panels: tuple[Panel, ...]
    note: str = ""


@dataclass(frozen=True)
class Preview:
    """Everything on the page.

    Args:
        facts: name and value, for the head.
        scene: gives the legend.
        original: the case as it is.
        whole: samples of the whole set.
        single: a row for each transform by itself.
    """

    facts: Sequence[tuple[str, str]]
    scene: Scene
    original: Panel
    whole: Row
    single: Sequence[Row]


def preview_page(preview: Preview) -> str:
    """The preview as HTML text."""
    environment = Environment(
        loader=PackageLoader("medseg.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["svg"] = Markup  # our own elements; texts in them were escaped when they were made
    return environment.get_template("preview.html").render(
        generator=Markup(GENERATOR),
        title="Augmentation preview",
        style=Markup(environment.get_template("style.css").render()),
        images="contains patient images" if preview.scene.images else "no images (outlines only)",
        preview=preview,
        pens=[(name, pen.colour, "dashed" if pen.dash else "solid") for name, pen in preview.scene.pens.items()],
    )
