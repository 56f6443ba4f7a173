"""Whose definition of a surface, of a percentile and of an empty mask: ours, and those of three other tools.

Numbers from different tools differ because they measure different things. Each `SurfaceRule` of `PARITY` gives the
numbers that its tool gives, its answers to empty masks included, faults or not, so that published figures can be
repeated. Judge with `MEDSEG` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from medseg.errors import UsageError

Elements = Literal["surfel", "voxel"]
SURFEL: Elements = "surfel"
VOXEL: Elements = "voxel"
PERCENTILE = 95.0
DEFAULT_TOLERANCE_MM = 2.0
ROUNDING_MM = 1e-6  # headers store float32: two voxels of 1 mm may lie 2.0000001 mm apart and still meet 2 mm
NAN, INFINITE = float("nan"), float("inf")
Empty = tuple[float, float]


@dataclass(frozen=True)
class SurfaceRule:
    """What `measure` counts.

    Args:
        name: key of `PARITY`.
        nsd: what NSD is a share of: `surfel`, the area of marching-cubes surface elements, or `voxel`, the number of
            border voxels (those with a face to the background; beyond the image is background).
        distances: between which elements the Hausdorff and average distances are taken.
        percentile: `linear` between the two order statistics around it (numpy's and torch's default), or `area`: the
            smallest distance within which that share of the area lies.
        empty: per metric what one empty mask gives, and what two give.
    """

    name: str
    nsd: Elements = SURFEL
    distances: Elements = VOXEL
    percentile: Literal["linear", "area"] = "linear"
    empty: Mapping[str, Empty] = field(
        default_factory=lambda: {"nsd": (0.0, NAN)} | dict.fromkeys(("hd", "hd95", "assd", "masd"), (INFINITE, NAN))
    )

    @property
    def kinds(self) -> tuple[Elements, ...]:
        """What has to be measured."""
        return (self.nsd,) if self.nsd == self.distances else (self.nsd, self.distances)

    def as_dict(self) -> dict[str, str]:
        """What an output says about itself."""
        words = {"linear": "linear", "area": "share of the area"}
        return {
            "definition": self.name,
            "surface": self.nsd,
            "distances": self.distances,
            "percentile_rule": f"larger of the two directed 95th percentiles, {words[self.percentile]}",
        }


MEDSEG = SurfaceRule("medseg")
PARITY: dict[str, SurfaceRule] = {
    "medseg": MEDSEG,
    # surface-distance 0.1: everything weighted by area; no ASSD of its own: both directions pooled by area
    "deepmind": SurfaceRule(
        "deepmind", distances=SURFEL, percentile="area",
        empty={"nsd": (0.0, NAN), "hd": (INFINITE, INFINITE), "hd95": (INFINITE, INFINITE), "assd": (INFINITE, NAN),
               "masd": (NAN, NAN)},
    ),
    # MONAI 1.6.1: use_subvoxels=False; a quantile among infinities is NaN there, so HD95 of a missed structure is NaN
    "monai": SurfaceRule(
        "monai", nsd=VOXEL,
        empty={"nsd": (0.0, NAN), "hd": (INFINITE, NAN), "hd95": (NAN, NAN), "assd": (INFINITE, NAN),
               "masd": (INFINITE, NAN)},
    ),
    # MetricsReloaded at cb38dfc: two empty masks are perfect, one empty has no distance
    "metrics_reloaded": SurfaceRule(
        "metrics_reloaded", nsd=VOXEL,
        empty={"nsd": (0.0, 1.0)} | dict.fromkeys(("hd", "hd95", "assd", "masd"), (NAN, 0.0)),
    ),
}  # fmt: skip
PARITY["monai_subvoxels"] = replace(PARITY["monai"], name="monai_subvoxels", nsd=SURFEL)


def surface_rule(surface: str = SURFEL, definition: str = "medseg") -> SurfaceRule:
    """The rule of a definition in `PARITY`, or for `medseg` with NSD over `surface` elements.

    Raises:
        UsageError: no such definition or surface, or a peer's definition with another surface than its own.

    >>> surface_rule("voxel").as_dict()["surface"]
    'voxel'
    """
    if definition not in PARITY:
        raise UsageError("no such definition", expected="one of " + ", ".join(PARITY), got=repr(definition))
    if surface not in (SURFEL, VOXEL):
        raise UsageError("no such surface", expected=f"{SURFEL} or {VOXEL}", got=repr(surface))
    if definition == MEDSEG.name:
        return replace(MEDSEG, nsd=SURFEL if surface == SURFEL else VOXEL)
    return PARITY[definition]
