"""One reading of one case, whatever it is stored as: found by its name and header, read by its labels' names.

| kind | what lies there | its names |
|---|---|---|
| map | a label file (NIfTI, NRRD, MHA) | values |
| segments | a label file that names its segments (3-D Slicer's .seg.nrrd) | those names |
| structures | a folder with a mask file for each structure (TotalSegmentator) | file names |
| seg | a DICOM SEG | segment labels, or what `rois.yaml` makes of them |
| rtstruct | a DICOM RTSTRUCT on its CT series | what `rois.yaml` makes of its regions |

A structure without a mask was not read; a mask without a voxel says that nothing was found.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medseg.errors import FileReadError, LabelError, UsageError
from medseg.io.dicom_rtstruct import is_structure_set
from medseg.io.dicom_seg import is_segmentation, read_segmentation_header
from medseg.io.itk_images import is_itk, label_names, read_masks
from medseg.io.label_files import is_label_file, label_stem
from medseg.io.roi_names import RoiRules

Kind = Literal["map", "segments", "structures", "seg", "rtstruct"]
INNER = "segmentations"  # TotalSegmentator's training data: <case>/segmentations/<structure>.nii.gz
DICOM_SUFFIXES = ("", ".dcm")  # exports give numbers as names, which look like suffixes: see `_may_be_dicom`


@dataclass(frozen=True)
class Place:
    """Where one reading lies, and as what.

    Args:
        path: the file, or the folder of the masks.
        masks: structure to file, for `structures`.
    """

    kind: Kind
    path: Path
    masks: Mapping[str, Path] = field(default_factory=dict)

    def shown(self, case: str) -> dict[str, Path]:
        """Name that tells nothing of a hospital, and path, of every file."""
        if self.kind == "structures":
            return {f"{case}/{path.name}": path for path in self.masks.values()}
        return {self.path.name if self.kind in ("map", "segments") else f"{case}.dcm": self.path}

    def names(self, rois: RoiRules | None, *, where: str) -> tuple[str, ...] | None:
        """Names of what it holds, by headers alone; None for a map of values.

        Raises:
            FileReadError, DicomError, LabelError: damaged, or regions that `rois` does not know.
            UsageError: an RTSTRUCT without `rois`.
        """
        match self.kind:
            case "map":
                return None
            case "structures":
                return tuple(self.masks)
            case "segments":
                return _segment_names(self.path, where)
            case "seg":
                names = read_segmentation_header(self.path, where=where).names
                if rois is None:
                    return names
                return tuple(dict.fromkeys(region.label for region in rois.match(names, where=where).values()))
            case "rtstruct":
                if rois is None:
                    raise UsageError("a structure set, and no rule for what its regions are", where=where,
                                     expected="--rois rois.yaml",
                                     do="`medseg import dicom --suggest-rois FILE` writes one to begin with.",
                                     )  # fmt: skip
                return tuple(rois.labels)


def find_place(path: Path, *, where: str) -> Place:
    """The reading at a path.

    Raises:
        FileReadError: nothing is there, or nothing that holds labels.
        UsageError: a folder that holds several readings, or one structure twice.
    """
    if path.is_dir():
        return _find_in_folder(path, where)
    if not os.path.exists(path):  # never raises, whatever the name
        raise FileReadError("no such file or folder", where=where, do="Check the path.")
    place = _find_file(path, where)
    if place is None:
        raise FileReadError("no reading", where=where,
                            expected="NIfTI, NRRD, MHA, DICOM SEG, RTSTRUCT or a folder of masks")  # fmt: skip
    return place


def holds_reading(path: Path) -> bool:
    """Whether anything at the path may be a reading, by names and DICOM headers."""
    if not path.is_dir():
        return is_label_file(path) or _is_dicom_labels(path)
    return any(is_label_file(one) or _is_dicom_labels(one) for one in _files(path, path.name))


def reading_stem(path: Path) -> str:
    """The name of a file without its suffix, or of a folder."""
    if path.is_dir():
        return path.name
    if is_label_file(path):
        return label_stem(path)
    return path.name[: -len(".dcm")] if path.name.lower().endswith(".dcm") else path.name


def _find_file(path: Path, where: str) -> Place | None:
    if is_label_file(path):
        return Place("segments" if is_itk(path) and _segment_names(path, where) else "map", path)
    if _may_be_dicom(path):
        if is_segmentation(path):
            return Place("seg", path)
        if is_structure_set(path):
            return Place("rtstruct", path)
    return None


def _find_in_folder(folder: Path, where: str) -> Place:
    files = list(_files(folder, where))
    masks: dict[str, Path] = {}
    for path in files:
        if is_label_file(path):
            if (name := label_stem(path)) in masks:
                raise UsageError(f"two files of structure {name}", where=where, got=f"{masks[name].name}, {path.name}")
            masks[name] = path
    objects = [path for path in files if _is_dicom_labels(path)]
    if len(objects) + bool(masks) > 1:
        raise UsageError("several readings in one folder", where=where, expected="one SEG or RTSTRUCT, or mask files",
                         got=f"{len(objects)} DICOM objects and {len(masks)} mask files")  # fmt: skip
    if masks:
        return Place("structures", folder, masks)
    if objects:
        return find_place(objects[0], where=where)
    raise FileReadError("no reading in the folder", where=where,
                        expected="<structure>.nii.gz, a DICOM SEG or an RTSTRUCT")  # fmt: skip


def _inner(folder: Path) -> Path:
    return folder / INNER if (folder / INNER).is_dir() else folder


def entries(folder: Path, *, where: str) -> list[Path]:
    """What lies in a folder, sorted, hidden files left out.

    Raises:
        FileReadError: the folder cannot be opened.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise FileReadError(f"the folder cannot be read ({error.strerror})", where=where) from None


def _files(folder: Path, where: str) -> Iterator[Path]:
    return (path for path in entries(_inner(folder), where=where) if path.is_file())


def _may_be_dicom(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in DICOM_SUFFIXES or suffix[1:].isdigit()


def _is_dicom_labels(path: Path) -> bool:
    return _may_be_dicom(path) and path.is_file() and (is_segmentation(path) or is_structure_set(path))


def _segment_names(path: Path, where: str) -> tuple[str, ...]:
    """Names of a file's segments; none where it holds values alone."""
    try:
        return tuple(label_names(path, where=where).values())
    except LabelError:  # several layers, which only the masks can tell
        return tuple(read_masks(path, where=where)[0])
