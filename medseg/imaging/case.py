"""One patient's study with every expert's labels, all on one grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medseg.errors import GeometryError
from medseg.imaging.geometry import Geometry
from medseg.imaging.regions import Reading
from medseg.imaging.volume import Volume


@dataclass(frozen=True, eq=False)
class Case:
    """A CT volume and one reading per rater who read it; a rater who is not in `raters` is missing.

    Args:
        id: running number or hash, never a patient's name.
        volume: the image.
        raters: rater's name to label map, or to regions that may overlap.
        truth: an external truth (a phantom has one), or None.
        patient: cases of one patient share it; they are never split across folds.
        group: site or scanner, or None.

    Raises:
        GeometryError: a label map lies on another grid than the image; says which and how they differ.
    """

    id: str
    volume: Volume
    raters: Mapping[str, Reading]
    truth: Reading | None = None
    patient: str = ""
    group: str | None = None

    def __post_init__(self) -> None:
        maps = {f"rater {name}": labels for name, labels in self.raters.items()}
        if self.truth is not None:
            maps["truth"] = self.truth
        for name, labels in maps.items():
            check_same_grid(self.volume.geometry, labels.geometry, where=f"case {self.id}, {name}")
        if not self.patient:
            object.__setattr__(self, "patient", self.id)


def check_same_grid(image: Geometry, labels: Geometry, *, where: str, first: str = "its image") -> None:
    """Raises GeometryError, naming what differs, unless both grids are equal; `first` says whose grid is `image`."""
    if faults := image.differences(labels):
        raise GeometryError(
            f"the label map lies on another grid than {first}",
            where=where,
            got="; ".join(faults) + f" ({first.removeprefix('its ')} against labels)",
            do="Export the labels on the image's own grid; medseg never resamples labels in silence.",
        )
