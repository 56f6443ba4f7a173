"""NRRD and MetaImage files (.nrrd, .nhdr, .mha, .mhd): images and label maps of ITK and 3-D Slicer.

ITK's world is LPS, as DICOM's; the headers are turned to RAS as they are read, so that behind this border every grid
is RAS. Axes stay as stored. A segmentation of 3-D Slicer names its segments, and keeps segments that overlap in
several layers: `read_masks` gives a mask for each, `read_label_values` only what fits into one label map.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import FileReadError, LabelError, VoxelError
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import count_values, whole_numbers
from medseg.imaging.volume import Volume
from medseg.io.itk_header import ItkHeader
from medseg.io.itk_metaimage import read_metaimage_header
from medseg.io.itk_nrrd import read_nrrd_header
from medseg.io.itk_voxels import read_voxels
from medseg.io.roi_suggestions import shown_name
from medseg.shapes import BoolArray, IntArray

SUFFIXES = (".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd")
MAX_SEGMENTS = 65535


@dataclass(frozen=True)
class SlicerSegment:
    """One segment of a 3-D Slicer segmentation: its name, and the layer and the value that stand for it."""

    name: str
    layer: int
    value: int


def is_itk(path: str | Path) -> bool:
    """Whether the name is that of an NRRD or MetaImage file."""
    return Path(path).name.lower().endswith(SUFFIXES)


def stem(path: str | Path) -> str:
    """The file name without its suffix: the case id of a bare file.

    >>> stem("scans/c001.seg.nrrd"), stem("c002.mhd")
    ('c001', 'c002')
    """
    name = Path(path).name
    return next((name[: -len(suffix)] for suffix in SUFFIXES if name.lower().endswith(suffix)), Path(name).stem)


def read_volume(path: str | Path, *, where: str = "") -> Volume:
    """The image in HU (float32) on its own grid, axes as stored.

    Raises:
        FileReadError: missing, truncated, damaged, no NRRD or MetaImage, or several components.
        GeometryError: no volume, or no valid position in the patient.
        VoxelError: NaN or infinite voxels.
    """
    where = where or Path(path).name
    header = _read_header(Path(path), where)
    _check_single(header, where)
    voxels = _voxels(header, where)[0]
    try:
        with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite and is named below
            return Volume(voxels.astype(np.float32), header.geometry)
    except VoxelError as error:
        raise VoxelError(error.what, where=where, do=error.do) from None


def read_label_values(path: str | Path, *, where: str = "") -> tuple[IntArray, Geometry]:
    """The integers (X, Y, Z) of a label file in the smallest fitting type, and their grid.

    Raises:
        FileReadError, GeometryError: as for `read_volume`.
        LabelError: a value is no integer, or segments lie in several layers.
    """
    where = where or Path(path).name
    header = _read_header(Path(path), where)
    if header.layers > 1 and _segments(header, where):
        raise LabelError(f"segments that may overlap lie in {header.layers} layers", where=where,
                         expected="one label map", do="Read its masks (`masks:` in dataset.yaml), or merge the "
                         "segments into one layer in 3-D Slicer.")  # fmt: skip
    _check_single(header, where)
    return whole_numbers(_voxels(header, where)[0], where=where), header.geometry


def read_geometry(path: str | Path, *, where: str = "") -> Geometry:
    """The grid alone; only the header is read, so a file whose voxels are truncated passes.

    Raises:
        FileReadError, GeometryError: as for `read_volume`.
    """
    where = where or Path(path).name
    header = _read_header(Path(path), where)
    if not _segments(header, where):
        _check_single(header, where)
    return header.geometry


def data_file(path: str | Path, *, where: str = "") -> Path:
    """The file that holds the voxels: the path itself, or the one that its header names.

    Raises:
        FileReadError, GeometryError: as for `read_volume`.
    """
    return _read_header(Path(path), where or Path(path).name).stored.data[0]


def label_names(path: str | Path, *, where: str = "") -> dict[int, str]:
    """Value to name, as a 3-D Slicer segmentation of one layer says; empty for files that carry no names.

    Raises:
        FileReadError, GeometryError: as for `read_volume`.
        LabelError: segments in several layers, or two with one value.
    """
    where = where or Path(path).name
    segments = _segments(_read_header(Path(path), where), where)
    names = {segment.value: segment.name for segment in segments}
    if len(names) < len(segments) or any(segment.layer for segment in segments):
        raise LabelError("the segments cannot stand in one label map", where=where,
                         expected="one layer with a value for each segment",
                         got=f"{len(segments)} segments in {len({s.layer for s in segments})} layers",
                         do="Read its masks (`masks:` in dataset.yaml).")  # fmt: skip
    return names


def read_masks(path: str | Path, *, where: str = "") -> tuple[dict[str, BoolArray], Geometry]:
    """A mask (X, Y, Z) for each segment of a 3-D Slicer segmentation by its name, empty ones too, and their grid.

    A label map without names gives "label 1" and so on for the values other than 0 that it holds.

    Raises:
        FileReadError, GeometryError, LabelError: as for `read_label_values`; values that no segment claims.
    """
    where = where or Path(path).name
    header = _read_header(Path(path), where)
    if not (segments := _segments(header, where)):
        labels, geometry = read_label_values(path, where=where)
        return {f"label {value}": labels == value for value in count_values(labels)[0] if value != 0}, geometry
    layers = [whole_numbers(layer, where=where) for layer in _voxels(header, where)]
    for number, layer in enumerate(layers):
        claimed = {segment.value for segment in segments if segment.layer == number}
        if unknown := [value for value in count_values(layer)[0] if value != 0 and value not in claimed]:
            raise LabelError("label values that no segment of the file claims", where=where,
                             expected=", ".join(map(str, sorted(claimed)[:20])) or "no value but 0",
                             got=", ".join(map(str, unknown[:10])), do="Export it again from 3-D Slicer.")  # fmt: skip
    return {segment.name: layers[segment.layer] == segment.value for segment in segments}, header.geometry


def _read_header(path: Path, where: str) -> ItkHeader:
    name = path.name.lower()
    if name.endswith((".nrrd", ".nhdr")):
        return read_nrrd_header(path, where)
    if name.endswith((".mha", ".mhd")):
        return read_metaimage_header(path, where)
    raise FileReadError("not the name of an NRRD or MetaImage file", where=where, expected=", ".join(SUFFIXES[1:]))


def _check_single(header: ItkHeader, where: str) -> None:
    if header.layers > 1:
        raise FileReadError(f"{header.layers} values per voxel", where=where, expected="one value per voxel",
                            do="Save the component, frame or layer you want as a file of its own.")  # fmt: skip


def _voxels(header: ItkHeader, where: str) -> list[Any]:
    """An array (X, Y, Z) for each layer."""
    stored = read_voxels(header.stored, where)
    if header.other is None:
        return [stored.reshape(header.geometry.shape, order="F")]
    layers = np.moveaxis(stored, header.other, 0)
    return [layer.reshape(header.geometry.shape, order="F") for layer in layers]


def _segments(header: ItkHeader, where: str) -> tuple[SlicerSegment, ...]:
    """The segments that the header lists, in its order; none for a file that is no 3-D Slicer segmentation.

    Old versions of 3-D Slicer wrote neither layer nor value: then each segment is a layer of its own, of value 1.
    """
    numbers = []
    while len(numbers) <= MAX_SEGMENTS and f"Segment{len(numbers)}_ID" in header.fields:
        numbers.append(len(numbers))
    if not numbers:
        return ()
    own_layers = not any(f"Segment{number}_{key}" in header.fields for number in numbers
                         for key in ("Layer", "LabelValue"))  # fmt: skip
    try:
        found = tuple(_segment(header.fields, number, own_layers) for number in numbers)
    except (KeyError, ValueError):
        raise LabelError("the list of segments is damaged", where=where, do="Export it again.") from None
    if bad := [segment.name for segment in found if not 0 <= segment.layer < header.layers]:
        raise LabelError("segments lie in layers that the file does not have", where=where,
                         expected=f"layers 0 to {header.layers - 1}",
                         got=", ".join(map(shown_name, bad[:5])))  # fmt: skip
    places = Counter((segment.layer, segment.value) for segment in found)
    names = Counter(segment.name for segment in found)
    if max(places.values()) > 1 or max(names.values()) > 1 or any(segment.value == 0 for segment in found):
        double = [shown_name(name) for name, count in names.items() if count > 1]
        raise LabelError("segments that cannot be told apart", where=where,
                         expected="for each segment a name and a value of its own, not 0",
                         got=", ".join(double[:5]) or "equal values or 0",
                         do="Rename them in 3-D Slicer.")  # fmt: skip
    return found


def _segment(fields: Mapping[str, str], number: int, own_layer: bool) -> SlicerSegment:
    name = fields.get(f"Segment{number}_Name", "").strip() or fields[f"Segment{number}_ID"]
    if own_layer:
        return SlicerSegment(name, number, 1)
    return SlicerSegment(name, int(fields.get(f"Segment{number}_Layer", 0)), int(fields[f"Segment{number}_LabelValue"]))
