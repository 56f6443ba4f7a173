"""A reading damaged structure by structure: what `--degrade` scores beside the undamaged one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medseg.errors import UsageError
from medseg.evaluation.degrade import Damage, read_damage, shift_voxels
from medseg.imaging.labels import BACKGROUND, Box, LabelSet
from medseg.imaging.regions import Reading, RegionMap, box_of
from medseg.shapes import BoolArray, IntTriple, Triple

STANDARD_MM = 2.0
STANDARD = ("erode:{mm:g}", "dilate:{mm:g}", "shift:{twice:g},0,0", "drop:largest")


def standard_damages(spacing_mm: Triple) -> list[Damage]:
    """Eroded and dilated by 2 mm, shifted by 4 mm, without the largest part; on coarse grids by a voxel and two.

    >>> [str(damage) for damage in standard_damages((1.0, 1.0, 3.0))]
    ['erode by 3 mm', 'dilate by 3 mm', 'shift by 6, 0, 0 mm', 'drop the largest part']
    """
    mm = max(STANDARD_MM, *spacing_mm)
    return [read_damage(text.format(mm=mm, twice=2 * mm)) for text in STANDARD]


def damaged_reading(
    readings: Mapping[str, Reading],
    player: str,
    raters: Sequence[str],
    labels: Sequence[str],
    damage: Damage,
    *,
    seed: int = 0,
    where: str = "",
) -> RegionMap:
    """The player's reading with every structure damaged, on the same grid; what was not read stays unread.

    Only the box around the structure with room for the damage is looked at.

    Args:
        readings: of one case, all on one grid.
        raters: whose masks `copy` and `majority` take; the player's own are left out.
        seed: of damage that is drawn.
        where: what stands first in an error.

    Raises:
        UsageError: the damage would move no voxel, or the reader to copy has not read this case.
    """
    reading = readings[player]
    grid = reading.geometry
    others = {name: readings[name] for name in raters if name in readings and name != player}
    rng = np.random.default_rng(seed)
    masks: dict[str, BoolArray] = {}
    for label in filter(reading.was_read, labels):
        box = _room(reading, others, label, damage, grid.spacing_mm)
        mask = np.zeros(grid.shape, dtype=bool)
        if box is not None:
            theirs = {name: other.mask_in(label, box) for name, other in others.items() if other.was_read(label)}
            try:
                mask[box] = damage.apply(reading.mask_in(label, box), grid.spacing_mm, theirs, rng)
            except UsageError as error:
                raise UsageError(str(error), where=", ".join(filter(None, (where, "--degrade")))) from None
        masks[label] = mask
    label_set = LabelSet({BACKGROUND: 0, **{label: place for place, label in enumerate(labels, 1)}})
    return RegionMap(masks, grid, label_set, tuple(masks), reading.slices_read)


def _room(
    reading: Reading, others: Mapping[str, Reading], label: str, damage: Damage, spacing_mm: Triple
) -> Box | None:
    """The box around everybody's structure, wide enough for what the damage moves; None when nobody marked any."""
    whole: Box = tuple(slice(0, size) for size in reading.geometry.shape)  # type: ignore[assignment]
    sources = [reading, *(others.values() if damage.kind in ("copy", "majority") else ())]
    found = [box for source in sources if (box := box_of(source.mask_in(label, whole))) is not None]
    if not found:
        return None
    reach = _reach(damage, spacing_mm)
    sides = [
        slice(max(min(box[axis].start for box in found) - reach[axis], 0),
              min(max(box[axis].stop for box in found) + reach[axis], reading.geometry.shape[axis]))
        for axis in range(3)
    ]  # fmt: skip
    return sides[0], sides[1], sides[2]


def _reach(damage: Damage, spacing_mm: Triple) -> IntTriple:
    """Voxels along X, Y, Z that the damage may reach beyond the structure, one more so that its border is seen."""
    if damage.kind == "shift":
        x, y, z = (abs(step) + 1 for step in shift_voxels(spacing_mm, damage.by_mm))
    else:
        x, y, z = (int(np.ceil(damage.mm / spacing)) + 1 for spacing in spacing_mm)
    return x, y, z
