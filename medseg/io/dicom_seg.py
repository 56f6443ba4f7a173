"""A DICOM segmentation (SEG) as one boolean mask per segment, on its own grid or on its CT's (PS3.3 A.51, C.8.20).

Read are BINARY, FRACTIONAL (with a threshold that the caller gives) and LABELMAP objects. Frames that are not there
are zero; segments may overlap, each has a mask of its own. On a CT's grid the frames must lie on the CT's own voxels
up to axis order, flips and cropping: nothing is interpolated.

Names are the segment labels. Segments that share a label take their number behind it ("Lesion 2"), all of them; one
without a label is called "segment 2". Background, by its code or by the pixel padding value, is no segment.
Content creators and descriptions are not read: they name people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import DicomError, LabelError, UsageError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.geometry import Geometry
from medseg.imaging.lattice import Embedding
from medseg.io.dicom_damage import DamageError, reading
from medseg.io.dicom_quiet import quiet_pydicom
from medseg.io.dicom_seg_frames import FrameLayout, Frames, read_frames
from medseg.io.dicom_seg_header import (
    check_reference,
    is_segmentation,
    read_dataset,
    referenced_series,
    references,
)
from medseg.io.dicom_seg_planes import fit, fit_to_grid, functional_group, own_grid, read_planes
from medseg.io.roi_suggestions import shown_name
from medseg.io.series_facts import SeriesFacts
from medseg.shapes import BoolArray, IntArray

__all__ = ["Segment", "Segmentation", "SegmentationHeader", "is_segmentation", "read_segmentation",
           "read_segmentation_header", "referenced_series"]  # fmt: skip
BACKGROUND = ("125040", "DCM")
MAX_SEGMENTS = 65535  # ReferencedSegmentNumber is an unsigned 16-bit number


@dataclass(frozen=True)
class Segment:
    """What the file says of one segment; empty texts where it says nothing.

    Args:
        number: SegmentNumber, also the pixel value in a LABELMAP.
        name: the key of its mask.
        label: SegmentLabel as stored.
        category: meaning of the property category code, such as "Anatomical Structure".
        type: meaning of the property type code, such as "Liver".
        algorithm: MANUAL, SEMIAUTOMATIC or AUTOMATIC.
    """

    number: int
    name: str
    label: str = ""
    category: str = ""
    type: str = ""
    algorithm: str = ""
    algorithm_name: str = ""
    tracking_id: str = ""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The segments of one file.

    Args:
        masks: name to (X, Y, Z) boolean mask; built when asked for, because a hundred whole-body masks at once would
            fill the memory. Ask for a mask once and keep it.
        geometry: the grid of the masks.
        segments: in the order of the file.
        facts: where the masks come from, ready for JSON: `source`, `kind` (binary ...), `algorithms` (manual ...),
            and for fractions `fraction` (probability or occupancy) and `threshold`.
        label: ContentLabel, for a user who says that it names the rater; may name a hospital, so not to be shown.
    """

    masks: Mapping[str, BoolArray]
    geometry: Geometry
    segments: tuple[Segment, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""


@dataclass(frozen=True, eq=False)
class SegmentMasks(Mapping[str, BoolArray]):
    """Masks by name, each put together from its frames when it is asked for."""

    frames: Frames
    places: Sequence[Embedding]
    members: Mapping[str, Sequence[tuple[int, int]]]  # name: (frame, least pixel value) or for label maps exact value
    geometry: Geometry
    acquisition: Acquisition | None  # set when the places are on the acquired slices
    exact: bool

    def __getitem__(self, name: str) -> BoolArray:
        shape = self.geometry.shape if self.acquisition is None else (
            *self.acquisition.shape, len(self.acquisition.affines))  # fmt: skip
        mask = np.zeros(shape, dtype=bool, order="F")  # a slice lies together, as in the volume
        for frame, value in self.members[name]:
            pixels = self.frames.values(frame)
            self.places[frame].place(pixels == value if self.exact else pixels >= value, mask)
        return mask if self.acquisition is None else self.acquisition.to_grid(mask).astype(bool, copy=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)


def read_segmentation(
    path: str | Path,
    *,
    series: SeriesFacts | None = None,
    acquisition: Acquisition | None = None,
    threshold: float | None = None,
    where: str = "",
) -> Segmentation:
    """The masks of a SEG file on its own grid, or on the grid of the CT when `acquisition` is given.

    A segment that no frame shows is an empty mask.

    Args:
        series: the CT; the file must reference it and lie in its frame of reference.
        acquisition: the CT's slices and grid.
        threshold: for FRACTIONAL segmentations, above 0 and at most 1: a voxel of at least this fraction is inside.
        where: stands first in messages.

    Raises:
        FileReadError: no such file, or no DICOM.
        DicomError: no segmentation, damaged, of another series or frame of reference, a fractional one without a
            threshold, two frames of a segment at one place, or no grid of its own.
        GeometryError: its voxels are not the CT's; an interpolation would be needed.
        LabelError: pixel values or segment numbers that the file does not describe.
        UsageError: a threshold that is no fraction.
    """
    where = where or "a DICOM segmentation"
    if threshold is not None and not 0 < threshold <= 1:
        raise UsageError("the threshold is no fraction", where=where, expected="above 0 and at most 1",
                         got=f"{threshold:g}")  # fmt: skip
    dataset = read_dataset(Path(path), where, pixels=True)
    with reading(where, "the segmentation"), quiet_pydicom():
        if series is not None:
            check_reference(dataset, series, where)
        layout, kind = _layout(dataset, where), _kind(dataset, threshold, where)
        planes = read_planes(dataset, layout.frames)
        frames = read_frames(dataset, layout, where)
        segments, hidden = _segments(dataset, kind, where)
        rule = _rule(dataset, kind, threshold, hidden)
        members = _members(dataset, frames, segments, rule, where)
        facts = _facts(dataset, kind, segments, threshold)
        label = str(dataset.get("ContentLabel", "") or "")
    shape = (layout.columns, layout.rows)
    if acquisition is None:
        geometry, on_slices = own_grid(planes, shape, where), False
        places = fit_to_grid(planes, shape, geometry)
    else:
        geometry = acquisition.geometry
        places, on_slices = fit(planes, shape, acquisition, where)
    _check_places(members, places, where)
    masks = SegmentMasks(frames, places, members, geometry, acquisition if on_slices else None, kind == "labelmap")
    if acquisition is not None:
        _check_inside(masks, where)
    return Segmentation(masks, geometry, segments, facts, label)


@dataclass(frozen=True)
class SegmentationHeader:
    """What a SEG file says before its pixels are read.

    Args:
        names: of the masks.
        label: ContentLabel, as in `Segmentation`.
        series_uids, instance_uids: of the CT that it was made on; for finding it, never to be shown.
    """

    names: tuple[str, ...]
    label: str
    series_uids: frozenset[str] = field(repr=False)
    instance_uids: frozenset[str] = field(repr=False)


def read_segmentation_header(path: str | Path, *, where: str = "") -> SegmentationHeader:
    """The names in a SEG file, and the CT that it was made on.

    Raises:
        FileReadError, DicomError, LabelError: as `read_segmentation`, but for pixels and positions.
    """
    where = where or "a DICOM segmentation"
    dataset = read_dataset(Path(path), where, pixels=False)
    with reading(where, "the segmentation"), quiet_pydicom():
        segments, _ = _segments(dataset, _kind(dataset, 1.0, where), where)
        names = tuple(segment.name for segment in segments)
        return SegmentationHeader(names, str(dataset.get("ContentLabel", "") or ""), *references(dataset))


def _layout(dataset: Any, where: str) -> FrameLayout:
    layout = FrameLayout(int(dataset.Rows), int(dataset.Columns), int(dataset.get("NumberOfFrames", 1) or 0),
                         int(dataset.BitsAllocated), str(dataset.file_meta.TransferSyntaxUID))  # fmt: skip
    if int(dataset.get("SamplesPerPixel", 1)) != 1 or int(dataset.get("PixelRepresentation", 0)) != 0:
        raise DamageError("it has several samples a pixel, or signed pixels")
    if layout.bits not in (1, 8, 16) or min(layout.rows, layout.columns) < 1 or layout.frames < 1:
        raise DicomError("the segmentation holds no pixels that can be read", where=where,
                         expected="frames of 1, 8 or 16 bits a pixel", do="Export it again.",
                         got=f"{layout.frames} frames of {layout.columns} x {layout.rows} pixels of {layout.bits} bits",
                         )  # fmt: skip
    return layout


def _kind(dataset: Any, threshold: float | None, where: str) -> str:
    """binary, fractional or labelmap."""
    kind = str(dataset.get("SegmentationType", "")).lower()
    allowed = {"binary": (1, 8), "fractional": (8,), "labelmap": (8, 16)}
    if kind not in allowed or int(dataset.BitsAllocated) not in allowed[kind]:
        raise DicomError("a segmentation type that is not known", where=where,
                         expected="BINARY, FRACTIONAL or LABELMAP with 1, 8, or 8 to 16 bits",
                         got=f"{int(dataset.BitsAllocated)} bits")  # fmt: skip
    if kind == "fractional" and threshold is None:
        fraction = "probabilities" if dataset.get("SegmentationFractionalType") == "PROBABILITY" else "occupancies"
        raise DicomError(f"a fractional segmentation holds {fraction}, not masks", where=where,
                         expected="a threshold above 0 and at most 1", do="Pass --threshold, for example 0.5, to take "
                         "the voxels of at least that fraction.")  # fmt: skip
    return kind


def _segments(dataset: Any, kind: str, where: str) -> tuple[tuple[Segment, ...], frozenset[int]]:
    """The segments with the names of their masks, and the pixel values of a label map that mean background."""
    items = dataset.get("SegmentSequence") or []
    hidden = set()
    if kind == "labelmap":
        if (padding := dataset.get("PixelPaddingValue")) is not None:
            hidden.add(int(padding))
        hidden |= {int(item.SegmentNumber) for item in items if _is_background(item)}
    items = [item for item in items if int(item.SegmentNumber) not in hidden]
    if kind == "labelmap" and all(int(item.SegmentNumber) != 0 for item in items):
        hidden.add(0)  # where no segment claims it, 0 is what every label map means by it
    numbers = [int(item.SegmentNumber) for item in items]
    if len(set(numbers)) < len(numbers) or any(not 0 <= number <= MAX_SEGMENTS for number in numbers):
        raise LabelError("segment numbers that are no different 16-bit numbers", where=where)
    labels = [str(item.get("SegmentLabel", "") or "").strip() for item in items]
    names = [_name(label, number, labels.count(label) > 1) for label, number in zip(labels, numbers, strict=True)]
    if double := [name for name, count in Counter(names).items() if count > 1]:
        raise LabelError("two segments would have one name", where=where, got=", ".join(map(shown_name, double[:5])),
                         do="Give the segments different labels.")  # fmt: skip
    found = (_segment(item, name) for item, name in zip(items, names, strict=True))
    return tuple(found), frozenset(hidden)


def _name(label: str, number: int, shared: bool) -> str:
    if not label:
        return f"segment {number}"
    return f"{label} {number}" if shared else label


def _is_background(item: Any) -> bool:
    code = (item.get("SegmentedPropertyTypeCodeSequence") or [{}])[0]
    return (str(code.get("CodeValue", "")), str(code.get("CodingSchemeDesignator", ""))) == BACKGROUND


def _segment(item: Any, name: str) -> Segment:
    def meaning(sequence: str) -> str:
        return str((item.get(sequence) or [{}])[0].get("CodeMeaning", "") or "")

    def text(keyword: str) -> str:
        return str(item.get(keyword, "") or "").strip()

    return Segment(int(item.SegmentNumber), name, text("SegmentLabel"),
                   meaning("SegmentedPropertyCategoryCodeSequence"), meaning("SegmentedPropertyTypeCodeSequence"),
                   text("SegmentAlgorithmType"), text("SegmentAlgorithmName"), text("TrackingID"))  # fmt: skip


def _facts(dataset: Any, kind: str, segments: Sequence[Segment], threshold: float | None) -> dict[str, Any]:
    algorithms = sorted({segment.algorithm.lower() for segment in segments if segment.algorithm})
    facts: dict[str, Any] = {"source": "DICOM SEG", "kind": kind, "algorithms": algorithms}
    if kind == "fractional":
        facts |= {"fraction": str(dataset.get("SegmentationFractionalType", "")).lower(), "threshold": threshold}
    return facts


@dataclass(frozen=True)
class _Rule:
    """Which pixel values are inside: exactly the segment's number in a label map, else at least `least`."""

    kind: str
    least: int
    highest: int
    hidden: frozenset[int]


def _rule(dataset: Any, kind: str, threshold: float | None, hidden: frozenset[int]) -> _Rule:
    highest = int(dataset.MaximumFractionalValue) if kind == "fractional" else 1
    if highest < 1:
        raise DamageError("the highest fraction is zero")
    least = int(np.ceil((threshold or 1) * highest - 1e-9)) if kind == "fractional" else 1
    return _Rule(kind, max(1, least), highest, hidden)


def _members(
    dataset: Any, frames: Frames, segments: Sequence[Segment], rule: _Rule, where: str
) -> dict[str, list[tuple[int, int]]]:
    """For each mask the frames that show something of it, and the pixel value to compare with; checks every value."""
    by_number = {segment.number: segment.name for segment in segments}
    members: dict[str, list[tuple[int, int]]] = {segment.name: [] for segment in segments}
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
    for frame, own in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        values = frames.values(frame)
        if rule.kind == "labelmap":
            wanted = [(value, value) for value in _present(values) if value not in rule.hidden]
        else:
            if (top := int(values.max())) > rule.highest:
                raise DicomError("pixel values above the highest that the header allows", where=where,
                                 expected=f"at most {rule.highest}", got=str(top))  # fmt: skip
            identification = functional_group(own, shared, "SegmentIdentificationSequence")
            number = int(identification.ReferencedSegmentNumber)
            wanted = [(number, rule.least)] if top >= rule.least or number not in by_number else []
        for number, value in wanted:
            if number not in by_number:
                raise LabelError("a frame belongs to a segment that the file does not describe", where=where,
                                 expected="one of " + ", ".join(map(str, sorted(by_number)[:20])), got=str(number),
                                 do="Export the segmentation again.")  # fmt: skip
            members[by_number[number]].append((frame, value))
    return members


def _present(values: IntArray) -> list[int]:
    return np.flatnonzero(np.bincount(values.ravel())).tolist()


def _check_places(members: Mapping[str, Sequence[tuple[int, int]]], places: Sequence[Embedding], where: str) -> None:
    """No two frames of one segment in one plane: which of them would count?"""
    for name, frames in members.items():
        planes = Counter(_plane_key(places[frame]) for frame, _ in frames)
        if planes and max(planes.values()) > 1:
            raise DicomError(f"several frames of segment {shown_name(name)} lie in one plane", where=where,
                             expected="one frame a slice", got=f"up to {max(planes.values())}",
                             do="Time points or tiles must be separate files.")  # fmt: skip


def _plane_key(place: Embedding) -> tuple[int, int]:
    """The target axis across the plane, and the index on it."""
    axis = int(np.flatnonzero(np.abs(place.steps).sum(axis=1) == 0)[0])
    return axis, int(place.start[axis])


def _check_inside(masks: SegmentMasks, where: str) -> None:
    """Nothing drawn may lie outside the CT."""
    for name, frames in masks.members.items():
        lost = sum(_outside(masks.places[frame], masks.frames.values(frame), value, masks.exact)
                   for frame, value in frames)  # fmt: skip
        if lost:
            raise DicomError(f"{lost} voxels of segment {shown_name(name)} lie outside the CT", where=where,
                             do="Read it with the whole series that it was drawn on.")  # fmt: skip


def _outside(place: Embedding, pixels: IntArray, value: int, exact: bool) -> int:
    last = place.start + place.steps @ (np.array(place.shape) - 1)
    low, high = np.minimum(place.start, last), np.maximum(place.start, last)
    if (low >= 0).all() and (high < np.array(place.target.shape)).all():
        return 0
    mask = pixels == value if exact else pixels >= value
    return place.place(mask, np.zeros(place.target.shape, dtype=bool))
