"""Label files that name their segments themselves (3-D Slicer's .seg.nrrd): the names count, not the values.

Slicer numbers segments file by file, so one value may be the liver in one file and the spleen in the next.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from medseg.errors import LabelError
from medseg.imaging.cosines import Shear, squared
from medseg.imaging.labels import LabelSet
from medseg.imaging.regions import RegionMap, overlaps
from medseg.io.itk_images import is_itk, label_names, read_masks
from medseg.io.layouts.label_names import build_label_set
from medseg.io.layouts.layout import Derived, Drawn
from medseg.io.manifest import LabelFile


def find_reading(path: Path, labels: LabelSet, tilt: Shear, where: str) -> LabelFile | Derived:
    """The file itself, or, where it names its segments, a reading to be made of them.

    Raises:
        FileReadError, GeometryError: the header is damaged.
    """
    if not _names_segments(path, where):
        return LabelFile(path)
    return Derived(partial(_draw, path, labels, tilt, where))


def own_labels(paths: Iterable[tuple[Path, str]]) -> LabelSet | None:
    """All names that files give their segments, numbered in their order; None when a file names none.

    Args:
        paths: files, each with what stands first in messages about it.

    Raises:
        FileReadError, GeometryError, LabelError: a file is damaged.
    """
    names: set[str] = set()
    for path, where in paths:
        if not _names_segments(path, where):
            return None
        names |= set(read_masks(path, where=where)[0])
    return build_label_set({name: value for value, name in enumerate(sorted(names), start=1)}) if names else None


def _names_segments(path: Path, where: str) -> bool:
    if not is_itk(path):
        return False
    try:
        return bool(label_names(path, where=where))
    except LabelError:  # several layers: they have names, but not one label map
        return True


def _draw(path: Path, labels: LabelSet, tilt: Shear, where: str) -> Drawn:
    """The segments by name, as one label map unless they overlap; a structure that the file lacks was not read."""
    masks, geometry = read_masks(path, where=where)
    if unknown := [name for name in masks if name not in labels.foreground]:
        raise LabelError(f"a segment '{unknown[0]}' that the labels do not know", where=where,
                         expected="one of " + ", ".join(labels.foreground),
                         do="Rename it, or name it with --labels.")  # fmt: skip
    regions = RegionMap(masks, squared(geometry, shear=tilt, where=where), labels)
    reading = regions if overlaps(masks) else regions.merged(where=where)
    return Drawn(reading, {"format": "segments of 3-D Slicer"}, on_part=True)  # Slicer may crop to the segments
