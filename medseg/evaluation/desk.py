"""Where one structure's masks meet: each surface is measured once, and asked by every pair that needs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np

from medseg.evaluation.metrics import METRICS
from medseg.evaluation.overlap import Overlap
from medseg.evaluation.spread import Spread, spread_between
from medseg.evaluation.surface import Gap, Surface, measure
from medseg.evaluation.surface_rules import DEFAULT_TOLERANCE_MM, MEDSEG, Elements, SurfaceRule
from medseg.shapes import BoolArray, Triple

Pair = tuple[str, str]
NAN = float("nan")


@dataclass(frozen=True)
class PairScore:
    """Two readings of one structure in one case.

    `values` maps every key of METRICS to a number: NaN where undefined or missing, infinity for a distance to nothing.
    Of the directed ones `a` is the reference. `gap` holds all distances between the surfaces where it was kept, for
    NSD at other tolerances.
    """

    label: str
    a: str
    b: str
    values: Mapping[str, float]
    volume_a_ml: float
    volume_b_ml: float
    gap: Gap | None = field(default=None, repr=False, compare=False)

    @property
    def is_missing(self) -> bool:
        """Whether one of the two did not read the structure, or they have no voxel in common that both read."""
        return bool(np.isnan(self.volume_a_ml) or np.isnan(self.volume_b_ml))

    @property
    def flag(self) -> str:
        """`missing`, `both_empty`, `one_empty` or nothing."""
        if self.is_missing:
            return "missing"
        empty = int(self.volume_a_ml == 0) + int(self.volume_b_ml == 0)  # numpy's booleans add up to a boolean
        return ("", "one_empty", "both_empty")[empty]

    def as_record(self) -> dict[str, str | float]:
        """One flat row, as in `pairs.csv`: `pandas.DataFrame(pair.as_record() for pair in scores)` is a tidy table.

        >>> sorted(PairScore("liver", "A", "B", {"dice": 0.9}, 1.5, 1.4).as_record())
        ['a', 'b', 'dice', 'flag', 'label', 'volume_a_ml', 'volume_b_ml']
        """
        volumes = {"volume_a_ml": self.volume_a_ml, "volume_b_ml": self.volume_b_ml}
        return {"label": self.label, "a": self.a, "b": self.b, **self.values, **volumes, "flag": self.flag}


@dataclass(frozen=True, eq=False)
class Seat:
    """Two masks on the voxels that both read, with their surfaces."""

    a: str
    b: str
    masks: tuple[BoolArray, BoolArray]
    surfaces: tuple[Surface, Surface]

    @property
    def overlap(self) -> Overlap:
        common = int(np.count_nonzero(self.masks[0] & self.masks[1]))
        one, other = self.surfaces
        return Overlap(one.voxels, other.voxels, common, float(np.prod(one.spacing_mm)) / 1000.0)


class Desk:
    """The masks (X, Y, Z) of one structure in one case, all of one shape.

    Args:
        masks: by name.
        read: for a name, where it read (broadcastable to the masks); everywhere when it is not there.
    """

    def __init__(self, masks: Mapping[str, BoolArray], read: Mapping[str, BoolArray], spacing_mm: Triple) -> None:
        self.masks, self.read, self.spacing_mm = masks, read, spacing_mm
        self._surfaces: dict[tuple[str, bytes], tuple[BoolArray, Surface]] = {}

    def seats(self, pairs: Iterable[Pair]) -> list[Pair | Seat]:
        """Each pair seated; a pair that cannot be compared stays a pair of names: somebody is missing."""
        return [self._seat(a, b) or (a, b) for a, b in pairs]

    def gaps(self, seats: Iterable[Seat], kind: Elements, signed: Elements) -> dict[Pair, Gap]:
        """The distances of each pair; all questions to one surface come together, so that one map is held at a time.

        Args:
            signed: the kind whose distances are to know inside from outside.
        """
        seats = list(seats)
        questions: dict[int, dict[int, Surface]] = {}
        targets: dict[int, Surface] = {}
        for seat in seats:
            for source, target in (seat.surfaces, seat.surfaces[::-1]):
                targets[id(target)] = target
                questions.setdefault(id(target), {})[id(source)] = source
        found: dict[tuple[int, int], Spread] = {}
        for number, target in targets.items():
            inside = target.inside(kind) if kind == signed else None
            for source in questions[number].values():
                points, weight = source.elements(kind)
                found[id(source), number] = spread_between(points, weight, target.elements(kind)[0], inside)
            target.forget()
        return {
            (seat.a, seat.b): Gap(found[id(one), id(other)], found[id(other), id(one)])
            for seat in seats
            for one, other in [seat.surfaces]
        }

    def scores(
        self, label: str, pairs: Sequence[Pair], rule: SurfaceRule, tolerance_mm: float, *, keep_gaps: bool
    ) -> list[PairScore]:
        """One entry per pair, in their order."""
        seats = self.seats(pairs)
        both = [seat for seat in seats if isinstance(seat, Seat) and not any(s.is_empty for s in seat.surfaces)]
        gaps = {kind: self.gaps(both, kind, rule.nsd) for kind in rule.kinds}
        marked = any(mask.any() for mask in self.masks.values())
        found = []
        for seat in seats:
            if not isinstance(seat, Seat):
                found.append(PairScore(label, *seat, dict.fromkeys(METRICS, NAN), NAN, NAN))
                continue
            apart = {kind: known[seat.a, seat.b] for kind, known in gaps.items() if (seat.a, seat.b) in known}
            values = measure_pair(seat.surfaces, seat.overlap, tolerance_mm, rule, apart)
            if marked and all(surface.is_empty for surface in seat.surfaces):
                values = {key: metric.agreed for key, metric in METRICS.items()}
            voxel_ml = float(np.prod(self.spacing_mm)) / 1000.0
            volumes = [surface.voxels * voxel_ml for surface in seat.surfaces]
            kept = apart.get(rule.nsd) if keep_gaps else None
            found.append(PairScore(label, seat.a, seat.b, values, volumes[0], volumes[1], kept))
        return found

    def _seat(self, a: str, b: str) -> Seat | None:
        if a not in self.masks or b not in self.masks:
            return None
        common = self._common(a, b)
        if common is not None and not common.any():
            return None
        (mask_a, surface_a), (mask_b, surface_b) = self._surface(a, common), self._surface(b, common)
        return Seat(a, b, (mask_a, mask_b), (surface_a, surface_b))

    def _common(self, a: str, b: str) -> BoolArray | None:
        """Where both read, or None for everywhere."""
        parts = [self.read[name] for name in (a, b) if name in self.read]
        if not parts:
            return None
        common = parts[0] if len(parts) == 1 else parts[0] & parts[1]
        return None if common.all() else common

    def _surface(self, name: str, common: BoolArray | None) -> tuple[BoolArray, Surface]:
        key = (name, b"" if common is None else sha256(common.tobytes()).digest())
        if key not in self._surfaces:
            mask = self.masks[name] if common is None else self.masks[name] & common
            self._surfaces[key] = mask, Surface(mask, self.spacing_mm)
        return self._surfaces[key]


def measure_pair(
    surfaces: tuple[Surface, Surface],
    counts: Overlap,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    rule: SurfaceRule = MEDSEG,
    gaps: Mapping[str, Gap] | None = None,
) -> dict[str, float]:
    """Every key of METRICS for two measured masks."""
    values = measure(*surfaces, rule, tolerance_mm, gaps)
    return {key: values[key] if key in values else getattr(counts, key) for key in METRICS}
