"""A tree of DICOM studies: every CT series is a case, structure sets and segmentations are its readings.

A structure set or a segmentation belongs to the CT that it names. What its regions are called in the data set, and
whose reading it is, stands in `rois.yaml`; nothing is guessed. Two readings of one rater on one CT are refused.
Folders and files of a hospital's tree are often called like patients: messages count the files, in the order of their
paths, and name them only when the user asks for it (`show_paths`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from os.path import commonpath
from pathlib import Path
from typing import Any

import numpy as np

from medseg.config import build_config
from medseg.errors import DicomError, LabelError, UsageError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.labels import LabelSet
from medseg.imaging.regions import RegionMap
from medseg.io.dicom import list_series, read_series_grid
from medseg.io.dicom_rtstruct import (
    Outlines,
    StructureSet,
    is_structure_set,
    read_rtstruct,
    read_structure_set,
)
from medseg.io.dicom_seg import SegmentationHeader, is_segmentation, read_segmentation, read_segmentation_header
from medseg.io.dicom_series import Series
from medseg.io.dicom_sources import FileItem, files_below
from medseg.io.layouts.dicom_raters import check_raters
from medseg.io.layouts.layout import (
    Derived,
    Drawn,
    Faults,
    FoundCase,
    ImportOptions,
    Layout,
    check_source,
    listed,
    shown,
)
from medseg.io.manifest import ImageOptions
from medseg.io.roi_names import FILE_NAME, RoiRules, read_roi_rules, suggest_rules
from medseg.shapes import BoolArray

NAME = "dicom"


@dataclass(frozen=True, eq=False)
class Study:
    """A CT series in its folder: the folder and the options are what a data set keeps of it."""

    series: Series
    folder: Path
    options: ImageOptions

    @cache  # noqa: B019 - a study lives as long as the import
    def grid(self) -> tuple[Series, Acquisition]:
        """The series and its slices, by its headers."""
        return read_series_grid(self.folder, where="", **self.options.reading)


@dataclass(frozen=True, eq=False)
class LabelObject:
    """A structure set or a segmentation, and what it says before it is drawn.

    Args:
        where: its name for messages.
    """

    path: Path
    where: str
    content: StructureSet | SegmentationHeader

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its regions."""
        return self.content.names if isinstance(self.content, SegmentationHeader) else tuple(
            roi.name for roi in self.content.rois)  # fmt: skip

    def tie(self, series: Series, trust: str) -> int:
        """How closely it is tied to a series: by images 3, series 2, or what else the user trusts 1; 0 not at all."""
        named = self.content.instance_uids, self.content.series_uids
        if not named[0].isdisjoint(series.instance_uids):
            return 3
        if series.uid and series.uid in named[1]:
            return 2
        if isinstance(self.content, StructureSet) and trust == "frame":
            return int(series.frame_of_reference_uid in {roi.frame_of_reference_uid for roi in self.content.rois})
        return int(isinstance(self.content, StructureSet) and trust == "positions")


@dataclass
class _Found:
    """Readings of one CT as they are met."""

    raters: dict[str, Derived] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)


def find_dicom(source: Path, options: ImportOptions) -> Layout:
    """Every CT series below a folder, with the structure sets and segmentations that were drawn on it.

    Raises:
        FileReadError, DicomError: no such folder, no CT in it, or a file that is damaged.
        UsageError: there are regions but no `rois`.
        ConfigError: a fault in `rois.yaml`.
    """
    check_source(source, NAME)
    studies = find_studies(source, options)
    objects = find_label_objects(source, _files_of(studies), show_paths=options.show_paths)
    rules = _rules(objects, options)
    faults = Faults()
    found = _readings(studies, objects, rules, options, faults) if rules else {}
    cases = tuple(_case(study, found.get(study.series.id, _Found()), options, source) for study in studies)
    raters = tuple(sorted({rater for case in cases for rater in case.raters}))
    if rules and rules.rater:
        check_raters(cases, rules.rater)
    labels = rules.label_set if rules else LabelSet({"background": 0})
    without = sum(not case.raters for case in cases)
    notes = [f"{without} of {len(cases)} CT series have no reading"] if without and raters else []
    return Layout(source, labels, raters, cases, notes=tuple(notes), faults=tuple(faults.found))


def suggest_rois(source: str | Path) -> str:
    """A `rois.yaml` to begin with, of the names of all regions below a folder.

    Raises:
        FileReadError, DicomError: no such folder, or a file in it that is damaged.
        UsageError: no structure set and no segmentation is there.
    """
    source = Path(source)
    check_source(source, NAME)
    objects = find_label_objects(source)
    if not objects:
        raise UsageError("no structure set and no segmentation in the source", where=source.name, do="Check the path.")
    return suggest_rules(list(dict.fromkeys(name for one in objects for name in one.names)))


def find_studies(source: Path, options: ImportOptions) -> list[Study]:
    """All CT series, in the order of their places in the tree.

    Raises:
        FileReadError, DicomError: see `dicom.list_series`.
    """
    found = list_series(source)
    if not found:
        raise DicomError("no CT series in the source", where=source.name, do="Check the path.")
    folders: dict[str, list[Path]] = defaultdict(list)  # of all stacks of one UID: their ids count them
    for one in found:
        folders[one.uid or one.id] += [path.parent for path in _paths(one)]
    studies = []
    for one in found:
        folder = Path(commonpath(folders[one.uid or one.id]))
        studies.append(Study(one, folder, ImageOptions(one.id, options.tilt, options.gaps)))
    return sorted(studies, key=lambda study: (study.folder.as_posix(), study.series.id))


def find_label_objects(
    source: Path, known: frozenset[Path] = frozenset(), *, show_paths: bool = False
) -> list[LabelObject]:
    """Every structure set and segmentation below a folder, but for the files that are `known` to be images.

    Raises:
        FileReadError, DicomError: one is damaged.
    """
    objects: list[LabelObject] = []
    for path in sorted(path for path in files_below(source) if path not in known):
        place = f" ({shown(path, source)})" if show_paths else ""
        if is_structure_set(path):
            where = f"structure set {sum(isinstance(one.content, StructureSet) for one in objects) + 1}{place}"
            objects.append(LabelObject(path, where, read_structure_set(path, where=where)))
        elif is_segmentation(path):
            where = f"segmentation {sum(isinstance(one.content, SegmentationHeader) for one in objects) + 1}{place}"
            objects.append(LabelObject(path, where, read_segmentation_header(path, where=where)))
    return objects


def _files_of(studies: Sequence[Study]) -> frozenset[Path]:
    return frozenset(path for study in studies for path in _paths(study.series))


def _paths(series: Series) -> list[Path]:
    return [image.item.path for image in series.images if isinstance(image.item, FileItem)]


def _rules(objects: Sequence[LabelObject], options: ImportOptions) -> RoiRules | None:
    overrides = options.rule_overrides
    if isinstance(options.rois, RoiRules):
        return build_config(RoiRules, {**options.rois.model_dump(by_alias=True), **overrides}, source=FILE_NAME)
    if options.rois is not None:
        return read_roi_rules(options.rois, [f"{key}={value}" for key, value in overrides.items()])
    if objects:
        names = dict.fromkeys(name for one in objects for name in one.names)
        raise UsageError(f"{len(objects)} structure sets or segmentations, and no rule for what their regions are",
                         expected="--rois rois.yaml", got=f"regions {listed(list(names), 10)}",
                         do="Let `--suggest-rois FILE` write a file to begin with.")  # fmt: skip
    return None


def _readings(
    studies: Sequence[Study],
    objects: Sequence[LabelObject],
    rules: RoiRules,
    options: ImportOptions,
    faults: Faults,
) -> Mapping[str, _Found]:
    """The readings of each series by its id."""
    found: dict[str, _Found] = defaultdict(_Found)
    for one in objects:
        with faults.gathered():
            study = _its_study(one, studies, rules.trust)
            for rater, make in _made(one, study, rules, options):
                name = rater or options.rater
                if name in found[study.series.id].raters:
                    who = "one rater" if rater and rules.rater and rules.rater.was_read(rater) else f"rater '{name}'"
                    raise LabelError(f"two readings of {who} on {study.series.id}", where=one.where,
                                     expected="one", got=f"another in {found[study.series.id].where[name]}",
                                     do="Say under `rater:` in rois.yaml where the rater's name stands, or take one "
                                     "of them out.")  # fmt: skip
                found[study.series.id].raters[name] = Derived(make)
                found[study.series.id].where[name] = one.where
    return found


def _its_study(one: LabelObject, studies: Sequence[Study], trust: str) -> Study:
    ties = [one.tie(study.series, trust) for study in studies]
    own = [study for study, strength in zip(studies, ties, strict=True) if strength and strength == max(ties)]
    if not own:
        raise DicomError("drawn on a CT that is not in the source", where=one.where, expected="its CT beside it",
                         got=f"{len(studies)} other CT series", do="Add its CT, take the file out, or accept what "
                         "else ties it to a CT with --trust.")  # fmt: skip
    if len(own) > 1:
        raise DicomError("drawn on one of several CT series, and nothing says on which", where=one.where,
                         got=listed([study.series.id for study in own]), do="Import them from folders of their "
                         "own.")  # fmt: skip
    return own[0]


def _made(
    one: LabelObject, study: Study, rules: RoiRules, options: ImportOptions
) -> Iterator[tuple[str, Callable[[], Drawn]]]:
    """Each rater in the object, and what draws the reading."""
    regions = rules.match(one.names, where=one.where)
    told = rules.rater.rater(one.path, one.content.label, where=one.where) if rules.rater else ""
    for rater in dict.fromkeys(region.rater for region in regions.values()):
        if isinstance(one.content, SegmentationHeader):
            yield rater or told, partial(_segmented, one, study, rules, options, rater)
        else:
            yield rater or told, partial(_outlined, one, study, rules, options, rater or told)


def _outlined(one: LabelObject, study: Study, rules: RoiRules, options: ImportOptions, rater: str) -> Drawn:
    series, acquisition = study.grid()
    contoured = read_rtstruct(one.path, series, acquisition, rules, fill_slices=options.fill_slices, where=one.where)
    outlines = contoured.readings.get(rater, Outlines())
    facts: dict[str, Any] = {"source": "RTSTRUCT"}
    facts |= {"notes": list(contoured.notes)} if contoured.notes else {}
    return _drawn(outlines.masks, rules, acquisition, facts, one.where, filled=outlines.filled)


def _segmented(one: LabelObject, study: Study, rules: RoiRules, options: ImportOptions, rater: str) -> Drawn:
    series, acquisition = study.grid()
    content = read_segmentation(one.path, series=series, acquisition=acquisition, threshold=options.threshold,
                                where=one.where)  # fmt: skip
    masks: dict[str, BoolArray] = {}
    for name, region in rules.match(list(content.masks), where=one.where).items():
        if region.rater == rater:
            mask = content.masks[name]
            masks[region.label] = np.logical_or(masks[region.label], mask) if region.label in masks else mask
    return _drawn(masks, rules, acquisition, dict(content.facts), one.where)


def _drawn(
    masks: Mapping[str, BoolArray],
    rules: RoiRules,
    acquisition: Acquisition,
    facts: Mapping[str, Any],
    where: str,
    *,
    filled: Mapping[str, tuple[int, ...]] | None = None,
) -> Drawn:
    """The masks as the rules want them: apart, or merged into one label map."""
    if not masks:
        raise LabelError("no region that counts as read", where=where, got="regions without any contour",
                         do="Take the file out, or say `empty: absent` in rois.yaml if the rater looked and found "
                         "nothing.")  # fmt: skip
    regions = RegionMap(masks, acquisition.geometry, rules.label_set)
    try:
        reading = regions if rules.overlap == "separate" else regions.merged(rules.priority or None, where=where)
    except LabelError as error:
        raise LabelError(error.what, where=error.where, expected=error.expected, got=error.got,
                         do="Say in rois.yaml which label wins (`overlap: priority` and `priority: [...]`), or keep "
                         "them apart (`overlap: separate`).") from None  # fmt: skip
    return Drawn(reading, facts, filled or {}, acquisition.invented)


def _case(study: Study, found: _Found, options: ImportOptions, source: Path) -> FoundCase:
    raters: Mapping[str, Derived] = dict(sorted(found.raters.items()))
    name = f"{study.series.id} ({shown(study.folder, source)})" if options.show_paths else study.series.id
    return FoundCase(name, study.folder, raters, study.series.patient_key,
                     image_options=study.options)  # fmt: skip
