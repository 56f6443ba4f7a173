"""What a reader left of a case, ready to be read: nothing of it is opened before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from medseg.errors import LabelError, UsageError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.cosines import squared
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import BACKGROUND, LabelMap, LabelSet, count_values
from medseg.imaging.regions import Reading, RegionMap
from medseg.io.dicom import is_series, read_series_grid
from medseg.io.dicom_rtstruct import Outlines, read_rtstruct
from medseg.io.dicom_seg import read_segmentation
from medseg.io.dicom_series import Series
from medseg.io.itk_images import read_masks
from medseg.io.label_files import read_label_values, read_labels, read_mask, read_regions
from medseg.io.manifest import ImageOptions
from medseg.io.roi_names import RoiRules
from medseg.shapes import BoolArray, IntArray
from medseg.workflows.readings_formats import Place
from medseg.workflows.readings_labels import ModelLabels


@dataclass(frozen=True)
class Naming:
    """How labels get their names.

    Args:
        labels: names and values; None where values are names (bare folders of label maps).
        rois: what DICOM regions and segments become.
        threshold: from which fraction on a voxel of a fractional SEG is inside.
        values_known: the values in `labels` are those of the files, not only numbers for names that were met.
    """

    labels: LabelSet | None = None
    rois: RoiRules | None = None
    threshold: float | None = None
    values_known: bool = True

    def label_set(self, names: Sequence[str] = ()) -> LabelSet:
        """The labels of a reading; where values are names, those of the given ones."""
        if self.labels is not None:
            return self.labels
        return LabelSet({BACKGROUND: 0, **{name: int(name) for name in sorted(set(names), key=int)}})


@dataclass(frozen=True)
class Source:
    """One reading of one case.

    Args:
        place: where it lies; None for a reader who looked and found nothing.
        where: stands first in messages.
        reader: whose it is, for structure sets that hold the readings of several.
        labelled, slices_read: what was looked for, see `LabelMap`.
        mapping: what a model's own values and names become.
        image: the CT, for SEG and RTSTRUCT.
        empty: the file must not mark anything: its reader found nothing.
    """

    place: Place | None
    where: str
    reader: str = ""
    labelled: tuple[str, ...] | None = None
    slices_read: tuple[int, int] | None = None
    mapping: ModelLabels | None = None
    image: Path | None = None
    image_options: ImageOptions = field(default_factory=ImageOptions)
    empty: bool = False

    @property
    def on_part(self) -> bool:
        """Whether its grid may be a part of the image's: such files are cropped to what they hold."""
        return self.place is not None and (
            self.place.kind == "segments" or (self.place.kind == "seg" and self.image is None)
        )


def read_source(source: Source, naming: Naming) -> Reading:
    """The reading, on the grid on which it is stored.

    Raises:
        FileReadError, DicomError, GeometryError, LabelError: see the readers of the formats; structures that have no
            label; marked voxels where the reader found nothing.
        UsageError: a structure set without rules or without its CT series.
    """
    assert source.place is not None
    reading = _READ[source.place.kind](source, source.place, naming)
    if source.empty and any(reading.mask(name).any() for name in reading.label_set.foreground):
        raise LabelError("absent, but the file marks voxels", where=source.where, expected="an empty file or none")
    return reading


def nothing_found(geometry: Geometry, source: Source, naming: Naming) -> LabelMap:
    """The reading of one who looked and found nothing."""
    labels = np.zeros(geometry.shape, dtype=np.uint8)
    return LabelMap(labels, geometry, naming.label_set(), _labelled(source, naming), source.slices_read)


def label_of_each(names: Sequence[str], source: Source, naming: Naming) -> dict[str, str]:
    """The label that each of a reading's own names becomes.

    Raises:
        LabelError: names without a label.
    """
    if source.mapping is not None:
        return source.mapping.resolve(names, where=source.where)
    if naming.labels is None:
        raise UsageError("structures with names beside label maps of values", where=source.where,
                         expected="--labels with a name for each value, or --model-labels",
                         got=", ".join(names[:5]))  # fmt: skip
    unknown = [name for name in names if name not in naming.labels.foreground]
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise LabelError("structures that are no label of the readers", where=source.where,
                         expected="some of " + ", ".join(naming.labels.foreground[:20]),
                         got=", ".join(unknown[:5]) + more,
                         do="Name them in --model-labels (`ignore: rest` leaves the others out), --rois or "
                         "--labels.")  # fmt: skip
    return {name: name for name in names}


def values_without_names(where: str) -> UsageError:
    """The error for a label map beside readings whose structures have names."""
    return UsageError("a label map of values beside structures with names", where=where,
                      expected="--labels with the value of each name, or --model-labels for a model")  # fmt: skip


def _labelled(source: Source, naming: Naming) -> tuple[str, ...] | None:
    if source.labelled is None:
        return source.mapping.targets if source.mapping else None
    known = naming.labels.foreground if naming.labels else source.labelled
    if unknown := [name for name in source.labelled if name not in known]:
        raise LabelError(f"`labelled` names an unknown label '{unknown[0]}'", where=source.where,
                         expected="some of " + ", ".join(known))  # fmt: skip
    return source.labelled


def _read_map(source: Source, place: Place, naming: Naming) -> Reading:
    labelled, tilt = _labelled(source, naming), source.image_options.label_tilt
    if source.mapping is None and not naming.values_known:
        raise values_without_names(source.where)
    if source.mapping is None and naming.labels is not None:
        return read_labels(place.path, naming.labels, where=source.where, labelled=labelled,
                           slices_read=source.slices_read, tilt=tilt)  # fmt: skip
    values, geometry = read_label_values(place.path, where=source.where, tilt=tilt)
    present = count_values(values)[0]
    names = [str(value) for value in present if value != 0]
    if source.mapping is not None:
        targets = source.mapping.resolve(names, where=source.where)
        label_set = naming.label_set(source.mapping.targets)
        values = _recoded(values, present, {int(k): label_set.values[v] for k, v in targets.items()})
    else:
        label_set = naming.label_set(names)
    _check_slices(source, geometry)
    return LabelMap(values, geometry, label_set, labelled, source.slices_read)


def _recoded(values: IntArray, present: Sequence[int], table: Mapping[int, int]) -> IntArray:
    new = np.array([table.get(value, 0) for value in present], dtype=np.int32)
    new = new.astype(np.uint8) if new.min(initial=0) >= 0 and new.max(initial=0) < 256 else new
    return new[np.searchsorted(np.array(present, dtype=values.dtype), values)]


def _read_structures(source: Source, place: Place, naming: Naming) -> Reading:
    labels = label_of_each(tuple(place.masks), source, naming)
    label_set = naming.label_set(tuple(labels.values()))
    labelled, tilt = _labelled_regions(source, naming), source.image_options.label_tilt
    if len(set(labels.values())) == len(labels):
        paths = {labels[name]: place.masks[name] for name in labels}
        if not paths:
            raise LabelError("none of the structures has a label", where=source.where, got=", ".join(place.masks))
        return read_regions(paths, label_set, where=source.where, labelled=labelled,
                            slices_read=source.slices_read, tilt=tilt)  # fmt: skip
    masks: dict[str, BoolArray] = {}
    grids: dict[str, Geometry] = {}
    for name, label in labels.items():  # several of them become one label
        where = f"{source.where}, {name}"
        mask, grids[name] = read_mask(place.masks[name], where=where, tilt=tilt)
        if faults := grids[name].differences(next(iter(grids.values()))):
            raise LabelError(f"another grid than the mask of {next(iter(grids))}", where=where, got="; ".join(faults))
        masks[label] = masks[label] | mask if label in masks else mask
    return RegionMap(masks, next(iter(grids.values())), label_set, labelled, source.slices_read)


def _labelled_regions(source: Source, naming: Naming) -> tuple[str, ...] | None:
    """A structure without a mask was not read, whatever the map of labels could make."""
    return None if source.labelled is None else _labelled(source, naming)


def _read_segments(source: Source, place: Place, naming: Naming) -> Reading:
    masks, geometry = read_masks(place.path, where=source.where)
    geometry = squared(geometry, shear=source.image_options.label_tilt, where=source.where)
    return _regions(masks, geometry, source, naming)


def _regions(masks: Mapping[str, BoolArray], geometry: Geometry, source: Source, naming: Naming) -> RegionMap:
    """The masks that have a label, those of one label united."""
    labels = label_of_each(tuple(masks), source, naming)
    if not labels:
        raise LabelError("none of the structures has a label", where=source.where, got=", ".join(masks) or "no mask")
    united: dict[str, BoolArray] = {}
    for name, label in labels.items():
        united[label] = united[label] | masks[name] if label in united else masks[name]
    _check_slices(source, geometry)
    label_set = naming.label_set(tuple(united))
    return RegionMap(united, geometry, label_set, _labelled_regions(source, naming), source.slices_read)


def _read_seg(source: Source, place: Place, naming: Naming) -> Reading:
    series, acquisition = _series(source) if source.image is not None else (None, None)
    content = read_segmentation(place.path, series=series, acquisition=acquisition, threshold=naming.threshold,
                                where=source.where)  # fmt: skip
    masks: dict[str, BoolArray] = {}
    names = tuple(content.masks)
    rules = naming.rois if source.mapping is None else None
    labels = {name: region.label for name, region in rules.match(names, where=source.where).items()} if rules else {
        name: name for name in names}  # fmt: skip
    for name, label in labels.items():
        mask = content.masks[name]
        masks[label] = masks[label] | mask if label in masks else mask
    regions = _regions(masks, content.geometry, source, naming)
    return _settled(regions, rules, source) if rules else regions


def _read_rtstruct(source: Source, place: Place, naming: Naming) -> Reading:
    if naming.rois is None or source.image is None:
        lacking = "--rois rois.yaml" if naming.rois is None else "the CT's DICOM series as its image"
        raise UsageError("a structure set alone says neither names nor slices", where=source.where, expected=lacking)
    series, acquisition = _series(source)
    contoured = read_rtstruct(place.path, series, acquisition, naming.rois, where=source.where)
    outlines = next(iter(contoured.readings.values())) if len(contoured.readings) == 1 else None
    if outlines is None:
        outlines = contoured.readings.get(source.reader, Outlines())
    if not outlines.masks:
        raise LabelError("no region that counts as read", where=source.where, got="regions without any contour",
                         do="Say `missing`, or `empty: absent` in rois.yaml if nothing was found.")  # fmt: skip
    own = replace(source, mapping=None)  # the rules gave the names already
    return _settled(_regions(outlines.masks, acquisition.geometry, own, naming), naming.rois, source)


def _settled(regions: RegionMap, rules: RoiRules, source: Source) -> Reading:
    """The regions as the rules want them where they overlap: apart, by priority, or refused."""
    if rules.overlap == "separate":
        return regions
    try:
        return regions.merged(rules.priority or None, where=source.where)
    except LabelError as error:
        raise LabelError(error.what, where=error.where, expected=error.expected, got=error.got,
                         do="Say in rois.yaml which label wins (`overlap: priority` and `priority: [...]`), or keep "
                         "them apart (`overlap: separate`).") from None  # fmt: skip


def _series(source: Source) -> tuple[Series, Acquisition]:
    assert source.image is not None
    if not is_series(source.image):
        raise UsageError("the image is no DICOM series", where=source.where,
                         expected="the CT's folder of DICOM slices, which a SEG or RTSTRUCT refers to")  # fmt: skip
    return read_series_grid(source.image, where=source.where, **source.image_options.reading)


def _check_slices(source: Source, geometry: Geometry) -> None:
    if source.slices_read is not None and source.slices_read[1] >= geometry.shape[2]:
        raise LabelError("slices_read lies outside the file", where=source.where, got=str(list(source.slices_read)),
                         expected=f"first <= last within 0 to {geometry.shape[2] - 1}")  # fmt: skip


_READ = {
    "map": _read_map,
    "segments": _read_segments,
    "structures": _read_structures,
    "seg": _read_seg,
    "rtstruct": _read_rtstruct,
}
