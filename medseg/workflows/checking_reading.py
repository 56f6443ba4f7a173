"""What can be wrong with the readings of one case."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from medseg.evaluation.mirrored import mirrored_axis
from medseg.evaluation.structures import StructureMeasure, measure_structures
from medseg.evaluation.surroundings import AirAround
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap
from medseg.imaging.mismatch import find_mismatch
from medseg.imaging.regions import Reading
from medseg.report.doctor import TRUTH
from medseg.workflows.checking_desk import CaseDesk

COPY = "One is probably a copy: give each rater their own file; two people never draw the same."
FLIPPED = "Look at both: one file was probably written with an axis turned over. Export it again."
MOST_OUTSIDE = 0.2  # share of a structure in the air around the body; outlines at the skin reach a few percent


def check_grid(desk: CaseDesk, reading: str, image: Geometry | None, labels: Geometry | None) -> None:
    mismatch = None if image is None or labels is None else find_mismatch(image, labels)
    if mismatch is None:
        return
    got = "; ".join(mismatch.differences) + " (image against labels)"
    why = f"; {mismatch.explanation}" if mismatch.explanation else ""
    do = "Export the labels on the image's own grid; medseg never resamples labels in silence."
    if mismatch.same_lattice:
        do = "Look whether they fit, then save them in the image's own axis order: no voxel has to be resampled."
    desk.add("error", f"{desk.where(reading)}: the label map lies on another grid than its image; got {got}{why}", do)


def check_reading(
    desk: CaseDesk, name: str, reading: Reading, image: Geometry | None, air: AirAround | None
) -> Mapping[str, StructureMeasure]:
    check_grid(desk, name, image, reading.geometry)
    same = image is not None and not image.differences(reading.geometry)
    found = measure_structures(reading, air if same else None)
    where = desk.where(name)
    if not found:
        _add_empty(desk, name)
    for label, measure in found.items():
        if not reading.was_read(label):
            desk.add("warning", f"{where}: {label} is drawn but not in `labelled`",
                     f"Add {label} to `labelled`; it counts as not read now.")  # fmt: skip
        if measure.outside is not None and measure.outside > MOST_OUTSIDE:
            desk.add("warning", f"{where}: {100 * measure.outside:.0f} % of {label} lie outside the body, in the air",
                     "Look at the case: labels of another image, or moved or mirrored against it.")  # fmt: skip
    _check_sides(desk, where, reading, found)
    return found


def _add_empty(desk: CaseDesk, name: str) -> None:
    where = desk.where(name)
    if name == TRUTH:
        desk.add("warning", f"{where}: nothing is labelled", "Take `truth:` out if it is not known.")
    elif desk.entry.raters[name].labelled is None:
        desk.add("error", f"{where}: nothing is labelled",
                 "If the rater did not read the case, take the file out: missing is not empty. If they looked and "
                 "found nothing, say so: name under `labelled:` what they looked for.")  # fmt: skip


def _check_sides(desk: CaseDesk, where: str, reading: Reading, found: Mapping[str, StructureMeasure]) -> None:
    """Left lies towards smaller R: a pair whose centres lie the other way round was probably swapped."""
    for pair in reading.label_set.mirror_pairs:
        left = next((name for name in pair if "left" in name.lower() or name.lower().endswith("_l")), None)
        if left is None or not all(name in found for name in pair):
            continue
        right = pair[1] if left == pair[0] else pair[0]
        if (beyond_mm := found[left].centre_mm[0] - found[right].centre_mm[0]) > 0:
            desk.add("warning", f"{where}: {left} lies {beyond_mm:.0f} mm to the patient's right of {right}",
                     "Check whether the two were swapped or the image is mirrored.")  # fmt: skip


def check_identical(desk: CaseDesk, readings: Mapping[str, Reading]) -> None:
    for (a, first), (b, second) in combinations(readings.items(), 2):
        if _identical(first, second):
            desk.add("warning", f"case {desk.entry.id}: raters {a} and {b} are identical in every voxel",
                     COPY)  # fmt: skip
        elif (flip := mirrored_axis(first, second)) is not None:
            axis, plain, turned = flip
            desk.add("warning", f"case {desk.entry.id}: raters {a} and {b} look mirrored along {'XYZ'[axis]}: Dice "
                     f"{plain:.2f} as they are, {turned:.2f} with one of them flipped", FLIPPED)  # fmt: skip


def _identical(a: Reading, b: Reading) -> bool:
    """Whether both mark the same, and not nothing."""
    if isinstance(a, LabelMap) and isinstance(b, LabelMap):
        return bool(a.labels.any()) and np.array_equal(a.labels, b.labels)
    boxes = a.boxes()
    return bool(boxes) and boxes == b.boxes() and all(
        np.array_equal(a.mask_in(name, box), b.mask_in(name, box)) for name, box in boxes.items()
    )  # fmt: skip
