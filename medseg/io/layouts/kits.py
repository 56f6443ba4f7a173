"""KiTS19, KiTS21 and KiTS23: a folder `case_00000` with `imaging.nii.gz` and labels in one of two forms.

- The aggregated label map: `segmentation.nii.gz` (KiTS19, KiTS23) or `aggregated_MAJ_seg.nii.gz` (KiTS21).
- A mask for each annotation of each instance, `<structure>_instance-<i>_annotation-<a>.nii.gz`, in `segmentations`
  (KiTS21) or `instances` (KiTS23). Three people outlined each instance, but annotation 1 of one kidney and annotation 1
  of another are not by the same person, so the raters are anonymous.

Values: kidney 1, tumor 2, cyst 3; kidney is painted first, then cyst, then tumor, as in the challenge's own
aggregation. KiTS19 has no cysts. https://github.com/neheller/kits21, https://github.com/neheller/kits23
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from medseg.errors import FileReadError, InputError, LabelError
from medseg.imaging.case import check_same_grid
from medseg.imaging.cosines import Shear
from medseg.imaging.labels import LabelSet
from medseg.imaging.regions import RegionMap
from medseg.io.label_files import read_label_grid, read_mask
from medseg.io.layouts.label_names import build_label_set, given_labels
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
from medseg.io.layouts.source_files import missing, visible, volumes
from medseg.io.manifest import LabelFile
from medseg.shapes import BoolArray

NAME = "kits"
PLACES = ("", "dataset", "data", "kits21/data")  # where the challenges' repositories keep the cases
CASE = re.compile(r"case_(\d{5})")
ANNOTATION = re.compile(r"(\w+)_instance-(\d+)_annotation-(\d+)\.nii\.gz")
INSTANCES = ("instances", "segmentations")
AGGREGATED = ("segmentation.nii.gz", "aggregated_MAJ_seg.nii.gz")
PRIORITY = ("tumor", "cyst", "kidney")  # the first wins where masks overlap
KITS19, KITS23 = {"kidney": 1, "tumor": 2}, {"kidney": 1, "tumor": 2, "cyst": 3}
FIRST_OF_KITS23 = 400  # cases from here on came with KiTS23
MAJORITY = "majority"

Masks = Mapping[tuple[str, int], Mapping[int, Path]]  # (structure, instance) to annotation to file


@dataclass(frozen=True)
class CaseFolder:
    """What one case folder holds."""

    path: Path
    masks: Masks
    aggregated: Path | None

    @property
    def image(self) -> Path:
        return self.path / "imaging.nii.gz"

    @property
    def annotations(self) -> list[int]:
        """Numbers of the annotations that any instance has."""
        return sorted({number for files in self.masks.values() for number in files})

    def labelled(self, annotation: int) -> tuple[str, ...]:
        """Structures that the annotation tells for certain.

        An instance that it lacks leaves its structure open, and those that would be painted beneath it.
        """
        certain = []
        for structure in PRIORITY:
            if not all(annotation in files for (name, _), files in self.masks.items() if name == structure):
                break
            certain.append(structure)
        return tuple(certain)


def find_kits(source: Path, options: ImportOptions) -> Layout:
    """The cases of KiTS: raters annotation_1 to annotation_3 (made, anonymous), or the aggregated labels.

    Cases without any label form the split `test`, the others `train`; one patient each.

    Raises:
        FileReadError: no such folder, or no case in it.
        UsageError, LabelError: see `given_labels`.
    """
    check_source(source, NAME)
    root = next((source / place for place in PLACES if any(map(_is_case, visible(source / place)))), None)
    if root is None:
        raise FileReadError("no case", where=source.name, expected="folders case_00000 with imaging.nii.gz",
                            do="Check the path.")  # fmt: skip
    faults = Faults()
    folders = [_read_folder(path, source, faults) for path in visible(root) if _is_case(path)]
    apart = any(folder.masks for folder in folders)
    annotations = apart if options.kits_labels is None else options.kits_labels == "annotations"
    labels = given_labels(options.labels) or _labels(root, folders, annotated=apart)
    cases = [_case(folder, labels, annotations, source, options, faults) for folder in folders]
    found = tuple(case for case in cases if case is not None)
    numbers = sorted({number for folder in folders for number in folder.annotations}) if annotations else []
    single = MAJORITY if apart else options.rater
    raters = tuple(f"annotation_{number}" for number in numbers) if annotations else (single,)
    return Layout(source, labels, raters, found, anonymous=annotations, notes=_notes(folders, annotations),
                  faults=tuple(faults.found))  # fmt: skip


def _is_case(path: Path) -> bool:
    return path.is_dir() and CASE.fullmatch(path.name) is not None


def _labels(root: Path, folders: Sequence[CaseFolder], *, annotated: bool) -> LabelSet:
    """KiTS19's two structures, unless something tells that it is one of the later challenges."""
    later = (
        annotated
        or (root / "kits23.json").is_file()
        or any(
            int(folder.path.name[-5:]) >= FIRST_OF_KITS23
            or (folder.aggregated is not None and folder.aggregated.name != AGGREGATED[0])
            for folder in folders
        )
    )
    return build_label_set(KITS23 if later else KITS19)


def _read_folder(path: Path, source: Path, faults: Faults) -> CaseFolder:
    masks: dict[tuple[str, int], dict[int, Path]] = defaultdict(dict)
    for file in [file for name in INSTANCES for file in volumes(path / name)]:
        match = ANNOTATION.fullmatch(file.name)
        if match is None or match[1] not in PRIORITY:
            faults.add(
                InputError(
                    "not a mask of this layout",
                    where=shown(file, source),
                    expected="<kidney, tumor or cyst>_instance-<i>_annotation-<a>.nii.gz",
                    do="Take it out.",
                )
            )
        elif not file.is_file():
            faults.add(missing(file, source, "linked"))
        elif int(match[3]) in masks[match[1], int(match[2])]:
            faults.add(
                InputError(
                    "an annotation is there twice",
                    where=shown(file, source),
                    do="Keep one of the folders instances and segmentations.",
                )
            )
        else:
            masks[match[1], int(match[2])][int(match[3])] = file
    whole = [path / name for name in AGGREGATED if (path / name).is_file()]
    if len(whole) > 1:
        faults.add(
            InputError(
                "two aggregated label maps",
                where=shown(path, source),
                got=" and ".join(AGGREGATED),
                do="Keep one of them.",
            )
        )
    return CaseFolder(path, dict(masks), whole[0] if whole else None)


def _case(
    folder: CaseFolder, labels: LabelSet, annotations: bool, source: Path, options: ImportOptions, faults: Faults
) -> FoundCase | None:
    name = shown(folder.path, source)
    if not folder.image.is_file():
        faults.add(missing(folder.image, source, "image", "KiTS gives images apart, by its download script."))
        return None
    raters: dict[str, LabelFile | Derived] = {}
    if annotations:
        if folder.aggregated is not None and not folder.masks:
            faults.add(
                LabelError(
                    "no masks of single annotations",
                    where=name,
                    do="Pass --kits-labels aggregated, or copy the folder again.",
                )
            )
        for number in folder.annotations:
            if labelled := folder.labelled(number):
                tilt: Shear = "keep" if options.tilt == "keep" else "refuse"
                make = partial(_draw, folder, number, labelled, labels, source, tilt=tilt)
                raters[f"annotation_{number}"] = Derived(make)
    elif folder.aggregated is not None:
        raters[options.rater if not folder.masks else MAJORITY] = LabelFile(folder.aggregated)
    elif folder.masks:
        faults.add(missing(folder.path / AGGREGATED[0], source, "label", "Pass --kits-labels annotations."))
    unlabelled = not folder.masks and folder.aggregated is None
    return FoundCase(name, folder.image, raters, patient=name, split="test" if unlabelled else "train")


def _draw(
    folder: CaseFolder, number: int, labelled: tuple[str, ...], labels: LabelSet, source: Path, *, tilt: Shear
) -> Drawn:
    """One label map of all masks that have an annotation number, on the grid of the image."""
    grid = read_label_grid(folder.image, where=shown(folder.image, source), tilt=tilt)
    masks: dict[str, BoolArray] = {}
    for (structure, _), files in sorted(folder.masks.items()):
        if structure in labelled:
            where = shown(files[number], source)
            mask, geometry = read_mask(files[number], where=where, tilt=tilt)
            check_same_grid(grid, geometry, where=where)
            masks[structure] = np.logical_or(masks[structure], mask) if structure in masks else mask
    regions = RegionMap(masks, grid, labels, labelled)
    facts = {"layout": NAME, "annotation": number}
    return Drawn(regions.merged([name for name in PRIORITY if name in labels.values]), facts)


def _notes(folders: Sequence[CaseFolder], annotations: bool) -> tuple[str, ...]:
    if not annotations:
        return ()
    open_ = [f"{folder.path.name} (annotation {number})" for folder in folders for number in folder.annotations
             if len(folder.labelled(number)) < len(PRIORITY)]  # fmt: skip
    told = f"{len(open_)} readings lack an instance, and what this leaves open counts as not read: {listed(open_)}"
    return (told,) if open_ else ()
