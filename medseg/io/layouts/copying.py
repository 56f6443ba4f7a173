"""Images and labels copied as NIfTI files that say nothing but voxels and position."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from medseg.errors import InputError
from medseg.imaging.cosines import Shear
from medseg.imaging.labels import LabelMap
from medseg.imaging.volume import Volume
from medseg.io import nifti
from medseg.io.label_files import read_label_values
from medseg.io.layouts.layout import Drawn
from medseg.io.manifest import ImageOptions, LabelFile

UNSAFE = re.compile(r"[^\w.+@=-]+")


def copy_image(volume: Volume, source: Path, target: Path, options: ImageOptions) -> ImageOptions:
    """Writes the image, with the affine of a NIfTI source bit by bit, and returns how the copy is to be read.

    Raises:
        WriteError: the disk refused.
    """
    nifti.write_volume(target, volume, like=source if nifti.is_nifti(source) else None)
    invented = options.invented if volume.acquisition is None else volume.acquisition.invented
    return ImageOptions(tilt="keep" if options.tilt == "keep" else None, invented=invented)


def copy_labels(file: LabelFile, target: Path, tilt: Shear, where: str) -> LabelFile:
    """Writes the label map to `target`, or each mask beside it, and returns the same reading of the copies.

    Raises:
        FileReadError, GeometryError, LabelError: see `read_label_values`.
        WriteError: the disk refused.
    """
    if file.path is not None:
        _copy(file.path, target, tilt, where)
        return replace(file, path=target)
    targets = mask_paths(target, list(file.masks))
    for name, path in file.masks.items():
        _copy(path, targets[name], tilt, f"{where}, {name}")
    return replace(file, masks=targets)


def write_drawn(drawn: Drawn, target: Path) -> LabelFile:
    """Writes a made reading: a label map to `target`, regions that may overlap as a mask file each beside it.

    Raises:
        WriteError: the disk refused.
    """
    reading = drawn.reading
    facts = LabelFile(None, reading.labelled, reading.slices_read, {}, drawn.source, drawn.filled, drawn.invented)
    if isinstance(reading, LabelMap):
        nifti.write_labels(target, reading.labels, reading.geometry)
        return replace(facts, path=target)
    if not reading.masks:
        raise InputError("a reading without any structure", where=target.parent.name)
    targets = mask_paths(target, list(reading.masks))
    for name, mask in reading.masks.items():
        nifti.write_labels(targets[name], mask.astype("uint8"), reading.geometry)
    return replace(facts, masks=targets)


def mask_paths(target: Path, names: list[str]) -> Mapping[str, Path]:
    """A file for each structure in a folder that is named like the case.

    >>> {name: path.as_posix() for name, path in mask_paths(Path("A/c0001.nii.gz"), ["liver", "a/b"]).items()}
    {'liver': 'A/c0001/liver.nii.gz', 'a/b': 'A/c0001/a_b.nii.gz'}
    """
    files = safe_names(names)
    return {name: target.with_name(nifti.stem(target)) / f"{file}.nii.gz" for name, file in files.items()}


def safe_names(names: list[str]) -> dict[str, str]:
    """File or folder names for any names, all different, without slashes and leading dots.

    >>> safe_names(["a/b", "a b", "..", "A"])
    {'a/b': 'a_b', 'a b': 'a_b_2', '..': '_', 'A': 'A'}
    """
    safe: dict[str, str] = {}
    for name in names:
        plain = UNSAFE.sub("_", name).lstrip(".") or "_"
        taken = {file.lower() for file in safe.values()}  # many disks do not tell case apart
        number = 1
        while (candidate := plain if number == 1 else f"{plain}_{number}").lower() in taken:
            number += 1
        safe[name] = candidate
    return safe


def _copy(source: Path, target: Path, tilt: Shear, where: str) -> None:
    labels, geometry = read_label_values(source, where=where, tilt=tilt)
    nifti.write_labels(target, labels, geometry, like=source if nifti.is_nifti(source) else None)
