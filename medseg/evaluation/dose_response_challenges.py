"""The table of challenges: how an input is changed by a dose, in physical units, and what dose changes nothing.

A new family is one line of `CHALLENGES`: a name, what it moves (`way`) or what it does to the grey values (`alter`),
and its doses. Everything else (command line, curves, thresholds, report, folders for other tools, tests) reads the
table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from medseg.evaluation import dose_response_image as image
from medseg.evaluation.dose_response_way import Way, flipped, scaled, shifted, still, thicker, turned
from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.shapes import FloatArray


@dataclass(frozen=True)
class Challenge:
    """One family of transforms.

    Args:
        title: in figures and tables.
        unit: of the dose; empty for a factor.
        identity: the dose that changes nothing.
        doses: those tested by default, in rising order, without the identity.
        quick: the few of a quick look; a family without any is left out of it.
        limits: smallest and largest dose that makes sense.
        meaning: what is done, in one sentence with its constants.
        way: where the volume goes at a dose.
        alter: its grey values at a dose, on the canvas of `way`; None: they are resampled from where they were.
        logarithmic: doses are factors: distances between them are those of their logarithms.
        whole: doses are whole numbers.
    """

    title: str
    unit: str
    identity: float
    doses: tuple[float, ...]
    quick: tuple[float, ...]
    limits: tuple[float, float]
    meaning: str
    way: Callable[[Geometry, float], Way] = still
    alter: Callable[[Volume, float, int], FloatArray] | None = None
    logarithmic: bool = False
    whole: bool = False

    @property
    def moves(self) -> bool:
        """Whether it changes where things lie, so that labels must be resampled on the way back."""
        return self.way is not still

    def way_at(self, grid: Geometry, dose: float) -> Way:
        """There and back for a case on this grid."""
        return still(grid) if dose == self.identity else self.way(grid, dose)

    def apply(self, volume: Volume, dose: float, seed: int) -> tuple[Volume, Way]:
        """The challenged volume and the way back; the volume itself at the identity dose."""
        way = self.way_at(volume.geometry, dose)
        if dose == self.identity:
            return volume, way
        hu = way.there(volume.hu) if self.alter is None else self.alter(volume, dose, seed)
        return Volume(hu, way.canvas), way

    def changes(self, grid: Geometry, dose: float) -> bool:
        """Whether the dose changes anything for a case on this grid."""
        if dose == self.identity:
            return False
        return not self.moves or not self.way(grid, dose).is_still


def _turn(axis: int, name: str) -> Challenge:
    return Challenge(
        f"Rotation about {name}", "degrees", 0.0, (10, 20, 45, 90, 180), (20, 90) if axis == 2 else (20,), (-180, 180),
        f"turned about the patient's {name} axis through the middle of the volume",
        way=lambda grid, dose: turned(grid, axis, dose),
    )  # fmt: skip


def _shift(axis: int, name: str) -> Challenge:
    return Challenge(
        f"Shift to {name}", "mm", 0.0, (30, 100), (), (-1000, 1000),
        f"moved towards the patient's {name} by the nearest whole voxels, on a canvas that grows with it",
        way=lambda grid, dose: shifted(grid, axis, dose),
    )  # fmt: skip


def _flip(axis: int, name: str) -> Challenge:
    return Challenge(
        f"Flip {name}", "0 or 1", 0.0, (1,), (1,) if axis == 0 else (), (0, 1),
        f"mirrored {name}; left and right names of mirror pairs change places"
        if axis == 0 else f"mirrored {name}; names stay",
        way=partial(_flipped, axis), whole=True,
    )  # fmt: skip


def _flipped(axis: int, grid: Geometry, dose: float) -> Way:
    return flipped(grid, axis, dose)


CHALLENGES: dict[str, Challenge] = {
    "rotation_x": _turn(0, "left-right"),
    "rotation_y": _turn(1, "back-front"),
    "rotation_z": _turn(2, "foot-head"),
    "scale": Challenge("Scale", "", 1.0, (0.5, 0.7, 0.85, 1.2, 1.5, 2.0), (0.7, 1.3), (0.2, 4.0),
                       "enlarged (above 1) or shrunk about the middle", way=scaled, logarithmic=True),
    "translation_x": _shift(0, "right"),
    "translation_y": _shift(1, "front"),
    "translation_z": _shift(2, "head"),
    "flip_x": _flip(0, "left to right"),
    "flip_y": _flip(1, "back to front"),
    "flip_z": _flip(2, "foot to head"),
    "hu_shift": Challenge("HU shift", "HU", 0.0, (-100, -50, -20, 20, 50, 100), (-50, 50), (-3000, 3000),
                          "a constant added to every voxel", alter=image.shift_hu),
    "gamma": Challenge("Gamma", "", 1.0, (0.5, 0.7, 1.4, 2.0), (), (0.1, 10.0),
                       "the share of the window −160 to 240 HU to a power; HU beyond the window stay",
                       alter=image.bend_gamma, logarithmic=True),
    "noise": Challenge("Dose (noise)", "of the dose", 1.0, (0.05, 0.1, 0.25, 0.5), (0.1,), (0.001, 1.0),
                       "white Gaussian noise of 10 HU × √(1 / share − 1): a scan that is taken to hold 10 HU of noise, "
                       "made with this share of its dose", alter=image.add_noise, logarithmic=True),
    "blur": Challenge("Blur", "mm", 0.0, (1, 2, 4), (), (0, 100),
                      "a Gaussian of this standard deviation along every axis", alter=image.blur),
    "kernel": Challenge("Sharp kernel", "× detail", 0.0, (1, 2, 4), (), (0, 50),
                        "in the slices, this many times the difference from a Gaussian blur of 1 mm (at least one "
                        "voxel) added", alter=image.sharpen),
    "slice_thickness": Challenge("Slice thickness", "mm", 0.0, (5, 7.5, 10, 15), (10,), (0, 200),
                                 "slices of this thickness, each the mean over what it covers; a case whose slices are "
                                 "as thick already is left as it is", way=thicker, alter=image.thicken),
    "occlusion": Challenge("Occluded share", "of the body", 0.0, (0.05, 0.1, 0.2, 0.4), (0.2,), (0.0, 1.0),
                           "cubes of 40 mm of the body (above −300 HU) replaced by air; the references keep what is "
                           "hidden", alter=image.occlude),
}  # fmt: skip
