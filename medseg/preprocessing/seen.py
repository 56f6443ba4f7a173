"""What training cases were like from outside, and in what a study is unlike all of them.

A run keeps ranges over its cases and nothing of any one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medseg.imaging.volume import BODY_HU
from medseg.shapes import FloatArray, IntArray, Triple

FAR_SPACING = 2.0  # times coarser or finer voxels than in any case
FAR_LENGTH = 1.5  # times longer or shorter than any case
FAR_AREA = 1.25  # times thicker or thinner: an adult's head has 250 cm2, trunks 400 to 750
Range = tuple[float, float]


@dataclass(frozen=True)
class Looks:
    """A CT from outside.

    Args:
        spacing_mm: of its own voxels along R, A, S.
        area_cm2: of its axial sections, see `section_cm2`.
    """

    spacing_mm: Triple
    area_cm2: float


def section_cm2(hu: FloatArray | IntArray, spacing_mm: Sequence[float]) -> float:
    """The median area in cm2 of what is denser than air in axial slices (X, Y, Z); 0 where there is nothing.

    Slices without any of it do not count, and neither does the air in lungs. A head has less than a trunk.
    """
    voxels = np.array([np.count_nonzero(hu[:, :, k] > BODY_HU) for k in range(hu.shape[2])])
    return float(np.median(voxels[voxels > 0]) * spacing_mm[0] * spacing_mm[1] / 100) if voxels.any() else 0.0


@dataclass(frozen=True)
class Seen:
    """Ranges over training cases, from the least to the most; None where a run of an older version does not tell.

    Args:
        field_of_view_mm: lengths on the plan's grid, which may be cropped to the body, along R, A, S.
        spacing_mm: of the cases' own voxels along R, A, S.
        area_cm2: see `Looks`.
    """

    field_of_view_mm: tuple[Range, Range, Range] | None = None
    spacing_mm: tuple[Range, Range, Range] | None = None
    area_cm2: Range | None = None

    @classmethod
    def of(cls, lengths_mm: Sequence[Triple], looks: Sequence[Looks | None]) -> Seen:
        """The ranges of cases; without those that not every case has.

        >>> Seen.of([(300, 250, 400), (350, 260, 380)], [None, None]).field_of_view_mm
        ((300, 350), (250, 260), (380, 400))
        """
        known = [each for each in looks if each is not None]
        if not lengths_mm:
            return cls()
        ranges = _ranges([(round(x), round(y), round(z)) for x, y, z in lengths_mm])
        if len(known) < len(looks) or not known:
            return cls(ranges)
        areas = [round(each.area_cm2, 1) for each in known]
        spacings = [(round(x, 4), round(y, 4), round(z, 4)) for x, y, z in (each.spacing_mm for each in known)]
        return cls(ranges, _ranges(spacings), (min(areas), max(areas)))

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> Seen:
        """What `facts` gave; what is missing or damaged is None."""
        return cls(_three(facts.get("field_of_view_mm")), _three(facts.get("spacing_mm")), _pair(facts.get("area_cm2")))

    @property
    def facts(self) -> dict[str, Any]:
        """What is known, in plain numbers."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def joined(self, other: Seen) -> Seen:
        """What the cases of both had; None where one does not tell."""
        return Seen(
            _joined_three(self.field_of_view_mm, other.field_of_view_mm),
            _joined_three(self.spacing_mm, other.spacing_mm),
            None if self.area_cm2 is None or other.area_cm2 is None else _joined(self.area_cm2, other.area_cm2),
        )

    def doubts_of_spacing(self, spacing_mm: Triple, grid_mm: Triple) -> list[str]:
        """A sentence where voxels are more than twice as coarse or fine as in any case; else, of the network's grid."""
        own = " x ".join(f"{mm:.3g}" for mm in spacing_mm)
        ranges = self.spacing_mm or tuple((mm, mm) for mm in grid_mm)
        if all(
            low / FAR_SPACING <= mm <= high * FAR_SPACING for mm, (low, high) in zip(spacing_mm, ranges, strict=True)
        ):
            return []
        told = " x ".join(f"{low:.3g}" if low == high else f"{low:.3g}-{high:.3g}" for low, high in ranges)
        whose = "of the training cases" if self.spacing_mm else "that the network works on"
        return [f"voxels of {own} mm, far from the {told} mm {whose}"]

    def doubts_of_body(self, hu: IntArray, spacing_mm: Triple, *, cropped: bool) -> list[str]:
        """Sentences where a study on the plan's grid is longer, shorter, thinner or thicker than any case.

        Args:
            cropped: whether the grid is cropped to the body; else there may be any amount of air beside it.
        """
        found = []
        lengths = [n * mm for n, mm in zip(hu.shape, spacing_mm, strict=True)]
        for axis, length, (low, high) in zip("XYZ", lengths, self.field_of_view_mm or (), strict=False):
            if length < low / FAR_LENGTH:
                found.append(
                    f"{length:.0f} mm of the patient along {axis}, and no training case had less than {low:.0f}"
                )
            elif length > high * FAR_LENGTH and (cropped or axis == "Z"):
                found.append(f"{length:.0f} mm along {axis}, and no training case had more than {high:.0f}")
        if self.area_cm2 is not None and (area := section_cm2(hu, spacing_mm)):
            low, high = self.area_cm2
            if not low / FAR_AREA <= area <= high * FAR_AREA:
                found.append(f"axial sections of {area:.0f} cm2, and training cases had {low:.0f} to {high:.0f}: "
                             "another part of the body, a much smaller or larger patient, or one cut off?")  # fmt: skip
        return found


def _ranges(triples: Sequence[Triple]) -> tuple[Range, Range, Range]:
    x, y, z = ((min(axis), max(axis)) for axis in zip(*triples, strict=True))
    return x, y, z


def _joined(one: Range, other: Range) -> Range:
    return min(one[0], other[0]), max(one[1], other[1])


def _joined_three(
    one: tuple[Range, Range, Range] | None, other: tuple[Range, Range, Range] | None
) -> tuple[Range, Range, Range] | None:
    if one is None or other is None:
        return None
    x, y, z = (_joined(a, b) for a, b in zip(one, other, strict=True))
    return x, y, z


def _pair(given: Any) -> Range | None:
    match given:
        case [int() | float() as low, int() | float() as high] if low <= high:
            return low, high
    return None


def _three(given: Any) -> tuple[Range, Range, Range] | None:
    match given:
        case [x, y, z] if None not in (found := (_pair(x), _pair(y), _pair(z))):
            return found  # type: ignore[return-value]
    return None
