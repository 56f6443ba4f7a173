"""A torso as numbers: where each organ lies, how large it is, and its HU; drawn anew for every case.

Body frame: RAS mm, origin between liver and spine, +X is the patient's right. Sizes follow ordinary adult anatomy;
HU are those of an unenhanced scan, so that liver, spleen, kidney and muscle overlap once noise is added.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.shapes import Triple

LABELS = {
    "background": 0,
    "liver": 1,
    "spleen": 2,
    "kidney_left": 3,
    "kidney_right": 4,
    "lesion": 5,
    "lungs": 6,
    "bone": 7,
}
ORGANS = ("liver", "spleen", "kidney_left", "kidney_right")  # those that the demo's mean Dice is about
MIRROR_PAIRS = (("kidney_left", "kidney_right"),)
INF = float("inf")


@dataclass(frozen=True)
class Ellipsoid:
    """Centre and radii in mm (infinite: a cylinder), turn in degrees, and the HU of what fills it."""

    centre: Triple
    radii: Triple
    turn_deg: Triple
    hu: float


@dataclass(frozen=True)
class Body:
    """One patient. `organs` are labelled, `soft_tissue` is what they can be confused with."""

    half_width_mm: float
    half_depth_mm: float
    fat_mm: float
    muscle_mm: float
    fat_hu: float
    muscle_hu: float
    lung_hu: float
    bone_hu: float
    organs: dict[str, tuple[Ellipsoid, ...]]
    lesions: tuple[Ellipsoid, ...]
    soft_tissue: tuple[Ellipsoid, ...]
    rib_phase_mm: float
    pose_deg: Triple
    shift_mm: Triple


def sample_body(rng: np.random.Generator) -> Body:
    """Draws a patient."""
    size = rng.uniform(0.88, 1.12)
    organs = _organs(rng, size)
    fat = rng.uniform(8, 30)
    return Body(
        half_width_mm=145 * size + fat * 0.8,
        half_depth_mm=98 * size + fat * 0.6,
        fat_mm=fat,
        muscle_mm=rng.uniform(9, 16),
        fat_hu=rng.uniform(-115, -90),
        muscle_hu=rng.uniform(46, 62),
        lung_hu=rng.uniform(-880, -780),
        bone_hu=rng.uniform(170, 280),
        organs=organs,
        lesions=_lesions(rng, organs["liver"][0]),
        soft_tissue=_soft_tissue(rng, size),
        rib_phase_mm=rng.uniform(0, 32),
        pose_deg=tuple(rng.normal(0, (3, 3, 7)).clip(-15, 15)),  # type: ignore[arg-type]
        shift_mm=tuple(rng.uniform((-15, -10, -20), (15, 10, 20))),  # type: ignore[arg-type]
    )


def _place(rng: np.random.Generator, size: float, centre: Triple, radii: Triple, hu: float, turn_deg: float = 8,
           wander_mm: float = 5) -> Ellipsoid:  # fmt: skip
    """An ellipsoid at about `centre`: moved, stretched and turned as anatomy varies from patient to patient."""
    moved = np.array(centre) * size + rng.normal(0, wander_mm, 3)
    stretched = np.array(radii) * size * rng.uniform(0.86, 1.14, 3)
    return Ellipsoid(tuple(moved), tuple(stretched), tuple(rng.normal(0, turn_deg, 3)), float(hu))  # type: ignore[arg-type]


def _organs(rng: np.random.Generator, size: float) -> dict[str, tuple[Ellipsoid, ...]]:
    liver, spleen, kidney = rng.uniform(48, 64), rng.uniform(42, 58), rng.uniform(30, 48)
    return {
        "lungs": (
            _place(rng, size, (72, 5, 120), (58, 78, 105), 0),
            _place(rng, size, (-72, 5, 120), (58, 78, 105), 0),
        ),
        "liver": (
            _place(rng, size, (68, 6, 5), (70, 72, 74), liver),
            _place(rng, size, (8, 38, 22), (62, 36, 36), liver, turn_deg=12),
        ),
        "spleen": (_place(rng, size, (-92, -34, 18), (30, 46, 44), spleen, turn_deg=14, wander_mm=7),),
        "kidney_left": (_place(rng, size, (-60, -42, -58), (27, 25, 52), kidney, wander_mm=7),),
        "kidney_right": (_place(rng, size, (60, -42, -72), (27, 25, 52), kidney, wander_mm=7),),
        "vertebrae": (
            _place(rng, size, (0, -68, 0), (23, 18, INF), 0, turn_deg=0, wander_mm=2),
            _place(rng, size, (0, -92, 0), (9, 20, INF), 0, turn_deg=0, wander_mm=2),
        ),
    }


def _lesions(rng: np.random.Generator, lobe: Ellipsoid) -> tuple[Ellipsoid, ...]:
    """None to three hypodense balls inside the right lobe."""
    lesions = []
    for _ in range(rng.integers(0, 4)):
        direction = rng.normal(size=3)
        offset = direction / np.linalg.norm(direction) * rng.uniform(0, 0.6) * np.array(lobe.radii)
        radius = rng.uniform(8, 18)
        radii = tuple(radius * rng.uniform(0.85, 1.15, 3))
        lesions.append(
            Ellipsoid(tuple(np.array(lobe.centre) + offset), radii, (0, 0, 0), lobe.hu - rng.uniform(28, 42))
        )  # type: ignore[arg-type]
    return tuple(lesions)


def _soft_tissue(rng: np.random.Generator, size: float) -> tuple[Ellipsoid, ...]:
    """Unlabelled neighbours of the organs' own HU: heart, stomach, pancreas, vessels, psoas, bowel with gas."""
    muscle = rng.uniform(46, 62)
    shapes = [
        _place(rng, size, (-15, 28, 118), (54, 44, 52), rng.uniform(38, 50)),
        _place(rng, size, (-48, 42, 12), (40, 32, 46), rng.uniform(5, 45), turn_deg=15, wander_mm=8),
        _place(rng, size, (-8, 8, -28), (52, 15, 17), rng.uniform(32, 48), turn_deg=12),
        _place(rng, size, (-12, -44, 0), (11, 11, INF), rng.uniform(38, 50), turn_deg=0, wander_mm=3),
        _place(rng, size, (18, -40, 0), (12, 10, INF), rng.uniform(36, 48), turn_deg=0, wander_mm=3),
        _place(rng, size, (-36, -62, -100), (19, 19, 80), muscle),
        _place(rng, size, (36, -62, -100), (19, 19, 80), muscle),
        _place(rng, size, (-34, -92, 0), (27, 16, INF), muscle, turn_deg=0),
        _place(rng, size, (34, -92, 0), (27, 16, INF), muscle, turn_deg=0),
    ]
    for _ in range(9):
        centre = rng.uniform((-85, -5, -135), (85, 68, -45))
        radius = rng.uniform(14, 27)
        hu = rng.uniform(15, 55)
        shapes.append(_place(rng, size, tuple(centre), (radius, radius, radius), hu, turn_deg=30))
        if rng.random() < 0.3:  # gas rises to the front of the loop
            gas = (centre[0], centre[1] + radius * 0.5, centre[2])
            shapes.append(_place(rng, size, gas, (radius * 0.5, radius * 0.5, radius * 0.5), -700, wander_mm=1))
    return tuple(shapes)
