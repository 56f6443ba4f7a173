"""A worst case before and after, as a pair of slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medseg.imaging.geometry import Geometry, reorient
from medseg.report.overlay import TRUTH, Overlay, overlay_svg
from medseg.report.palette import Stroke, strokes
from medseg.shapes import BoolArray, FloatArray


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


def slice_overlay(
    case: str,
    title: str,
    grid: Geometry,
    references: Mapping[str, BoolArray],
    prediction: tuple[str, BoolArray],
    hu: FloatArray | None,
) -> Overlay:
    """The axial slice on which the references together are largest (the prediction where they are empty).

    Rows run from front to back, columns from the patient's right to left, as radiologists look at it.

    Args:
        references: masks (X, Y, Z) on `grid` by name; may be empty.
        prediction: name and mask of the model.
        hu: the image, or None for outlines alone.
    """
    upright = grid.canonical()
    masks = {name: reorient(mask, grid, upright) for name, mask in (*references.items(), prediction)}
    marked = np.any([masks[name] for name in references], axis=0) if references else masks[prediction[0]]
    areas = (marked if marked.any() else masks[prediction[0]]).sum(axis=(0, 1))
    level = int(areas.argmax()) if areas.any() else len(areas) // 2
    x_mm, y_mm, _ = upright.spacing_mm
    image = None if hu is None else reorient(hu, grid, upright)[:, :, level]
    return Overlay(case, title, {name: mask[::-1, ::-1, level].T for name, mask in masks.items()}, (y_mm, x_mm),
                   None if image is None else image[::-1, ::-1].T)  # fmt: skip
