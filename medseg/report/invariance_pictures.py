"""A worst case before and after, as a pair of slices."""

from __future__ import annotations

from dataclasses import dataclass

from medseg.report.overlay import TRUTH, Overlay, overlay_svg
from medseg.report.palette import Stroke, strokes


@dataclass(frozen=True)
class WorstCase:
    """The same structure on the unchanged input and on what the model saw; the reference lies under both."""

    title: str
    before: Overlay
    after: Overlay

    @property
    def has_image(self) -> bool:
        return self.before.hu is not None or self.after.hu is not None


def picture_svgs(case: WorstCase, model: str, pens: dict[str, Stroke]) -> tuple[str, str]:
    """Both slices as SVG elements."""
    names = [name for name in case.before.masks if name not in (*pens, TRUTH)]
    known = {**strokes(names), **pens}
    return overlay_svg(case.before, [model], known), overlay_svg(case.after, [model], known)
