"""An RT Structure Set as boolean masks on its CT's grid, one per label and rater.

Contours are filled on the slices that the scanner acquired by the rules of `imaging.contours`: a voxel belongs to a
region when its centre lies inside an odd number of the region's contours. Then they are moved to the volume's grid.
What would have to be guessed is refused: a contour between two slices, contours that overlap in part, slices left out
within a region. What is known but easily overlooked stands in `Contoured.notes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medseg.errors import DicomError, LabelError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.contour_gaps import Gap, interpolated, missing_slices
from medseg.io.dicom_rtstruct_file import DEFAULT_WHERE, Roi, StructureSet, is_structure_set, read_structure_set
from medseg.io.dicom_rtstruct_references import check_references, tie
from medseg.io.dicom_rtstruct_slices import CLOSED, XOR, Drawn, Slices, draw, told_slices
from medseg.io.roi_names import Region, RoiRules
from medseg.io.roi_suggestions import shown_name
from medseg.io.series_facts import SeriesFacts
from medseg.shapes import BoolArray

__all__ = ["Contoured", "Outlines", "StructureSet", "is_structure_set", "tie", "read_rtstruct",
           "read_structure_set"]  # fmt: skip

OPEN_KINDS = ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")  # PS3.3 C.8.8.6.1


@dataclass(frozen=True, eq=False)
class Outlines:
    """One rater's regions.

    Args:
        masks: label to (X, Y, Z) mask on the volume's grid; a label that is not there was not looked for.
        filled: label to the indices along Z of the volume that hold voxels which nobody drew, for labels that do.
    """

    masks: dict[str, BoolArray] = field(default_factory=dict)
    filled: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Contoured:
    """What one structure set says of one CT.

    Args:
        label: StructureSetLabel.
        readings: rater to regions. One rater, called "" when no rule says where the name stands, unless the
            regions' names tell several.
        notes: sentences for the user, each with the region that it is about.
    """

    label: str
    readings: dict[str, Outlines]
    notes: tuple[str, ...] = ()

    @property
    def masks(self) -> dict[str, BoolArray]:
        """The masks of the only rater, by label.

        Raises:
            LabelError: the structure set holds the readings of several raters.
        """
        return self._only.masks

    @property
    def filled(self) -> dict[str, tuple[int, ...]]:
        """The filled slices of the only rater, by label; fails as `masks`."""
        return self._only.filled

    @property
    def _only(self) -> Outlines:
        if len(self.readings) != 1:
            raise LabelError("the structure set holds the readings of several raters", got=", ".join(self.readings),
                             do="Take them from `readings`.")  # fmt: skip
        return next(iter(self.readings.values()))


def read_rtstruct(
    path: str | Path,
    series: SeriesFacts,
    acquisition: Acquisition,
    rules: RoiRules,
    *,
    fill_slices: bool = False,
    where: str = "",
) -> Contoured:
    """The regions that the rules name, on the volume's grid.

    Args:
        series: the CT's identity, with the slice index of each image.
        acquisition: its slices and the volume's grid.
        rules: what the regions become, and what suffices as a tie to the CT.
        fill_slices: interpolate outlines on slices that a region leaves out, instead of refusing it.
        where: stands first in messages.

    Raises:
        FileReadError, DicomError: no structure set, damaged, without contours, not drawn on this CT, contours that
            lie on no slice or are not closed, that overlap in part, or that leave slices out.
        LabelError: names that the rules do not know or know twice, or no rater where the rules look for one.
    """
    where = where or DEFAULT_WHERE
    structures = read_structure_set(path, where=where)
    regions = rules.match([roi.name for roi in structures.rois], where=where)
    used = [roi for roi in structures.rois if roi.name in regions]
    if not used:
        raise LabelError("no region has a label", where=where, got=f"{len(structures.rois)} regions, all of them "
                         "ignored", do="Mend rois.yaml.")  # fmt: skip
    rater = rules.rater.rater(path, structures.label, where=where) if rules.rater else ""
    notes = check_references(structures, used, series, rules.trust, where=where)
    _check_kinds(used, where)
    slices = Slices(acquisition, series)
    drawn = {roi.number: draw(roi, slices, rules, where=where) for roi in used if roi.contours}
    gaps = {roi.number: missing_slices(drawn[roi.number].planes, slices.heights_mm) for roi in used
            if roi.contours and rules.labels[regions[roi.name].label].gaps == "refuse"}  # fmt: skip
    if not fill_slices:
        _check_gaps(used, gaps, slices, where)
    made = {number: _filled(found, slices) for number, found in gaps.items()}
    notes += [note for each in drawn.values() for note in each.notes]
    notes += [f"ROI {shown_name(roi.name)}: interpolated on {told_slices(sorted(made[roi.number]), slices)}"
              for roi in used if made.get(roi.number)]  # fmt: skip
    notes += [f"ROI {shown_name(roi.name)}: not outlined, taken as {rules.empty}" for roi in used if not roi.contours]
    readings = _readings(used, regions, drawn, made, slices, rules)
    return Contoured(structures.label, {name or rater: outlines for name, outlines in readings.items()}, tuple(notes))


def _check_kinds(rois: Sequence[Roi], where: str) -> None:
    """Only closed contours enclose voxels; those to be combined by XOR stand alone (PS3.3 C.8.8.6.3)."""
    open_ = {roi.name: sorted({_shown_kind(contour.kind) for contour in roi.contours if contour.kind not in CLOSED})
             for roi in rois}  # fmt: skip
    if found := [f"{shown_name(name)} ({', '.join(kinds)})" for name, kinds in open_.items() if kinds]:
        raise DicomError("contours that enclose nothing", where=where, expected="CLOSED_PLANAR",
                         got=", ".join(found[:10]) + (" ..." if len(found) > 10 else ""),
                         do="List these regions under `ignore:` in rois.yaml.")  # fmt: skip
    mixed = [roi.name for roi in rois if len({contour.kind in XOR for contour in roi.contours}) > 1]
    if mixed:
        raise DicomError("one region has contours to be combined by XOR and others", where=where,
                         got=", ".join(map(shown_name, mixed[:10])), do="Export the structure set again.")  # fmt: skip


def _shown_kind(kind: str) -> str:
    return kind if kind in OPEN_KINDS else "an unknown type" if kind else "no type"


def _check_gaps(rois: Sequence[Roi], gaps: Mapping[int, Sequence[Gap]], slices: Slices, where: str) -> None:
    left_out = [(roi, sorted({index for gap in gaps.get(roi.number, ()) for index in gap.slices})) for roi in rois]
    found = [f"{shown_name(roi.name)}: {told_slices(indices, slices)}" for roi, indices in left_out if indices]
    if found:
        count = sum(len(indices) for _, indices in left_out)
        raise DicomError(f"{count} slice{'' if count == 1 else 's'} left out between contours of a region", where=where,
                         expected="a contour on each slice", got="; ".join(found[:10]) + ("; ..." if len(found) > 10
                         else ""), do="Interpolate them with --fill-slices, or say that the region consists of parts "
                         "above one another (`gaps: keep` for its label in rois.yaml).")  # fmt: skip


def _filled(gaps: Sequence[Gap], slices: Slices) -> dict[int, BoolArray]:
    made: dict[int, BoolArray] = {}
    for gap in gaps:
        for index, plane in interpolated(gap, slices.heights_mm, slices.spacing_mm).items():
            made[index] = made[index] | plane if index in made else plane
    return made


def _readings(
    rois: Sequence[Roi],
    regions: Mapping[str, Region],
    drawn: Mapping[int, Drawn],
    made: Mapping[int, Mapping[int, BoolArray]],
    slices: Slices,
    rules: RoiRules,
) -> dict[str, Outlines]:
    """The masks of each rater, in the order of the rules' labels."""
    acquisition = slices.acquisition
    readings: dict[str, Outlines] = {region.rater: Outlines() for region in regions.values()}
    order = list(rules.labels)
    for region in sorted(set(regions.values()), key=lambda region: order.index(region.label)):
        members = [roi for roi in rois if regions[roi.name] == region]
        outlined = [roi.number for roi in members if roi.contours]
        if not outlined and rules.empty == "missing":
            continue
        mask = np.zeros((*acquisition.shape, acquisition.slices), dtype=bool, order="F")
        invented = sorted({index for number in outlined for index in made.get(number, ())})
        for planes in (planes for number in outlined for planes in (drawn[number].planes, made.get(number, {}))):
            for index, plane in planes.items():
                mask[:, :, index] |= plane
        outlines = readings[region.rater]
        outlines.masks[region.label] = mask if acquisition.plain else acquisition.to_grid(mask).astype(bool, copy=False)
        if invented:
            outlines.filled[region.label] = _planes_of(mask, invented, acquisition)
    return readings


def _planes_of(mask: BoolArray, indices: Sequence[int], acquisition: Acquisition) -> tuple[int, ...]:
    """The planes of the volume that hold voxels of these slices of a mask."""
    if acquisition.plain:
        return tuple(indices)
    only = np.zeros_like(mask)
    only[:, :, list(indices)] = mask[:, :, list(indices)]
    return tuple(np.flatnonzero(acquisition.to_grid(only).any(axis=(0, 1))).tolist())
