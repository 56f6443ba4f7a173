"""Arrays that a caller calls masks, held against what the scores need: one shape, three axes, yes or no, a spacing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from medseg.errors import GeometryError, UsageError
from medseg.shapes import BoolArray, Triple


def given_masks(masks: Mapping[str, Any], spacing_mm: Triple) -> dict[str, BoolArray]:
    """The masks (X, Y, Z) as booleans, by name; integers and floats may stand for them when they are 0 and 1 only.

    Raises:
        GeometryError: masks of different shapes or not of three axes, or a spacing that is not three lengths in mm.
        UsageError: other values than 0 and 1: a label map, or probabilities.

    >>> given_masks({"A": np.ones((1, 1, 2), dtype=np.uint8)}, (1.0, 1.0, 3.0))["A"].tolist()
    [[[True, True]]]
    """
    if len(spacing_mm) != 3 or not all(np.isfinite(length) and length > 0 for length in spacing_mm):
        raise GeometryError("no spacing", expected="three lengths above 0 in mm", got=str(tuple(spacing_mm)))
    found = {name: _mask(name, array) for name, array in masks.items()}
    shapes = {mask.shape for mask in found.values()}
    if len(shapes) > 1:
        raise GeometryError("masks of different shapes",
                            got=", ".join(f"{name} {mask.shape}" for name, mask in found.items()))  # fmt: skip
    return found


def _mask(name: str, array: Any) -> BoolArray:
    values = np.asarray(array)
    if values.ndim != 3:
        raise GeometryError("a mask without three axes", where=name, expected="(X, Y, Z)", got=str(values.shape),
                            do="Give one slice an axis of length 1: mask[:, :, None].")  # fmt: skip
    if values.dtype == np.bool_:
        return values
    if not ((values == 0) | (values == 1)).all():
        raise UsageError("no mask", where=name, expected="True and False, or 1 and 0",
                         got=f"values from {values.min():g} to {values.max():g}",
                         do="Compare one label at a time (labels == 2); threshold probabilities.")  # fmt: skip
    return values.astype(np.bool_)
