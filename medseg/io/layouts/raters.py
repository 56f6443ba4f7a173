"""A plain tree: `images/<case>.nii.gz`, `raters/<rater>/<case>.nii.gz` and the names of the values in `labels.yaml`.

A rater without a file for a case has not read it. NRRD and MetaImage files are taken as well; where 3-D Slicer wrote
the segments' names into the file, these count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import FileReadError, InputError, LabelError, UsageError
from medseg.imaging.cosines import Shear
from medseg.imaging.labels import LabelSet
from medseg.io.layouts.label_names import given_labels, read_label_file, required_labels
from medseg.io.layouts.layout import Faults, FoundCase, ImportOptions, Layout, check_source, listed, shown
from medseg.io.layouts.segments import find_reading, own_labels
from medseg.io.layouts.source_files import by_stem, missing, visible

NAME = "raters"
LABELS_FILE = "labels.yaml"
CHANNEL = re.compile(r"(.+)_(\d{4})")


def find_raters(source: Path, options: ImportOptions) -> Layout:
    """The cases of a tree of raters' folders.

    Raises:
        FileReadError: no such folder, no `images`, no `raters`, or nothing names the values.
        UsageError, LabelError: see `given_labels`; `raters` names one without a folder.
    """
    check_source(source, NAME)
    if not (source / "images").is_dir():
        raise FileReadError("no folder of images", where=source.name, expected="images/<case>.nii.gz",
                            do="Add the images; `medseg agree` compares raters' folders without them.")  # fmt: skip
    faults = Faults()
    folders = {path.name: path for path in visible(source / "raters") if path.is_dir()}
    if not folders:
        raise FileReadError("no rater", where=source.name, expected="raters/<rater>/<case>.nii.gz")
    if unknown := [name for name in options.raters if name not in folders]:
        raise UsageError(f"no rater '{unknown[0]}'", where="--raters", expected="one of " + ", ".join(folders))
    raters = tuple(name for name in folders if not options.raters or name in options.raters)
    labels = given_labels(options.labels)
    if labels is None and (source / LABELS_FILE).is_file():
        labels = read_label_file(source / LABELS_FILE)
    images = by_stem(source / "images", source, faults)
    _check_images(source / "images", images, faults)
    files = {name: by_stem(folders[name], source, faults) for name in raters}
    if labels is None:
        found = [(path, shown(path, source)) for paths in files.values() for path in paths.values()]
        labels = own_labels(found) or required_labels(None, LABELS_FILE)
    tilt: Shear = "keep" if options.tilt == "keep" else "refuse"
    cases = tuple(_case(stem, image, files, _Reading(labels, tilt, source), faults) for stem, image in images.items())
    for path in [path for found in files.values() for stem, path in found.items() if stem not in images]:
        faults.add(
            LabelError(
                "a label file without an image",
                where=shown(path, source),
                expected=f"images/{path.name}",
                do="Add the image, or take the file out.",
            )
        )
    unread = [case.name for case in cases if not case.raters]
    notes = (f"{len(unread)} cases have no rater: {listed(unread)}",) if unread else ()
    return Layout(source, labels, raters, cases, notes=notes, faults=tuple(faults.found))


@dataclass(frozen=True)
class _Reading:
    """How the label files of the tree are read."""

    labels: LabelSet
    tilt: Shear
    source: Path


def _case(stem: str, image: Path, files: Mapping[str, Mapping[str, Path]], how: _Reading, faults: Faults) -> FoundCase:
    raters = {}
    own = {name: found[stem] for name, found in files.items() if stem in found}
    for path in [image, *own.values()]:
        if not path.is_file():  # a link whose target is gone
            faults.add(missing(path, how.source, "linked"))
    for name, path in own.items():
        with faults.gathered():
            if path.is_file():
                raters[name] = find_reading(path, how.labels, how.tilt, shown(path, how.source))
    return FoundCase(stem, image, raters)


def _check_images(folder: Path, images: Mapping[str, Path], faults: Faults) -> None:
    if not images:
        faults.add(FileReadError("no image", where=folder.name, expected="images/<case>.nii.gz"))
    for path in visible(folder):
        if path.is_dir():
            faults.add(
                FileReadError(
                    "a folder among the images",
                    where=f"images/{path.name}",
                    do="Import DICOM series with the layout 'dicom'.",
                )
            )
    numbered = [match for stem in images if (match := CHANNEL.fullmatch(stem))]
    for case in sorted({match[1] for match in numbered}):
        channels = [match[2] for match in numbered if match[1] == case]
        if len(channels) > 1:
            faults.add(
                InputError(
                    f"{len(channels)} channels, and a case is one CT",
                    where=f"images/{case}",
                    got=", ".join(channels),
                    do="Keep the CT alone, or import 'nnunet'.",
                )
            )
