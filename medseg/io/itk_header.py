"""What the header of an ITK image file says: the noun that the NRRD and the MetaImage header are read into.

The two headers are text, so they are read here and not by ITK: ITK allocates what a header declares before it looks
whether the file holds it, opens whatever path a header names, and writes its warnings to the terminal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from medseg.errors import FileReadError, GeometryError
from medseg.imaging.geometry import Geometry
from medseg.io.roi_suggestions import shown_name
from medseg.shapes import FloatArray

MAX_HEADER = 2**24  # bytes; a Slicer segmentation of 1,000 segments has some 300 KB
MAX_VOXELS = 2**40  # far more than any memory holds, so that sizes can be multiplied without overflow
LONGEST_MM = 1e5  # a position or a voxel edge of 100 m is damage
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Stored:
    """Where the voxels are.

    Args:
        kind: number type with its byte order.
        sizes: along the stored axes, the fastest first.
        data: the file that holds the voxels, and the byte at which the stored data begin (-1: at the end of the file).
        encoding: raw, gzip, zlib, bzip2 or text.
        lines: text lines to skip before the data.
        skip: bytes to skip in the unpacked data.
        length: stored bytes, or None for all that follow.
    """

    kind: Any
    sizes: tuple[int, ...]
    data: tuple[Path, int]
    encoding: str = "raw"
    lines: int = 0
    skip: int = 0
    length: int | None = None


@dataclass(frozen=True)
class ItkHeader:
    """A header: where the voxels are stored and where they lie.

    Args:
        geometry: of the three spatial axes, RAS.
        other: position among the stored axes of the one that is not spatial (layers, components), or None.
        fields: free key/value pairs, such as those of a 3-D Slicer segmentation.
    """

    stored: Stored
    geometry: Geometry
    other: int | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def layers(self) -> int:
        """Values per voxel."""
        return 1 if self.other is None else self.stored.sizes[self.other]


def read_header_lines(path: Path, where: str, last: bytes | None) -> tuple[list[str], int]:
    """The lines of a text header and the byte after it.

    Args:
        last: beginning (lower case) of the line that ends the header and belongs to it; None for the empty line that
            ends an NRRD header, or the end of the file.

    Raises:
        FileReadError: no such file, or no text header.
    """
    try:
        with open(path, "rb") as stream:
            head = stream.read(MAX_HEADER)
    except FileNotFoundError:
        raise FileReadError("no such file", where=where, do="Check the path.") from None
    except OSError as error:
        raise FileReadError(f"cannot be read ({type(error).__name__})", where=where, do="Check the path.") from error
    lines, at = [], 0
    while at < len(head):
        end = head.find(b"\n", at)
        raw, at = (head[at:end], end + 1) if end >= 0 else (head[at:], len(head))
        line = raw.rstrip(b"\r")
        if not line.strip() and last is None:
            return lines, at
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            break
        if last is not None and line.strip().lower().startswith(last):
            return lines, at
    if last is None and at >= len(head) and len(head) < MAX_HEADER:
        return lines, at
    raise FileReadError("the header has no end", where=where, do="The file is damaged or of another format.")


def inside(header: Path, name: str, where: str) -> Path:
    """The data file that a header names, which must lie beside it or in a folder below.

    Raises:
        FileReadError: the name climbs out of the folder, or there is no such file.
    """
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    if not name or "\0" in name or ".." in parts or PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor:
        raise FileReadError("the data file lies outside the folder of its header", where=where,
                            expected="a file beside the header", do="Move it there and name it alone.")  # fmt: skip
    path = header.parent / name
    if not path.is_file():
        raise FileReadError("the data file is missing", where=where, do="Copy both files.",
                            expected=f"{shown_name(path.name)} beside the header")  # fmt: skip
    return path


def whole_sizes(text: str, count: int, where: str) -> tuple[int, ...]:
    """`count` sizes of at least 1."""
    sizes = tuple(int(word) for word in text.split())
    if len(sizes) != count or min(sizes, default=0) < 1 or float(np.prod(np.array(sizes, dtype=float))) > MAX_VOXELS:
        raise GeometryError("not a volume", where=where, expected=f"{count} axes of at least one voxel",
                            got=shown_name(" ".join(text.split())))  # fmt: skip
    return sizes


def grid(sizes: tuple[int, ...], axes_mm: FloatArray, origin_mm: FloatArray, to_ras: FloatArray,
         where: str) -> Geometry:  # fmt: skip
    """The grid of axes (3, 3), a column each, and an origin in the file's frame, turned to RAS.

    Raises:
        GeometryError: the axes are no basis, or a number is not finite or beyond 100 m.
    """
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = to_ras @ axes_mm, to_ras @ origin_mm
    if not np.abs(affine).max() <= LONGEST_MM:
        raise GeometryError("positions or voxel edges that no scan has", where=where,
                            expected=f"at most {LONGEST_MM:g} mm", got=f"{np.abs(affine).max():.3g} mm",
                            do="The header is damaged: copy or export it again.")  # fmt: skip
    try:
        return Geometry((sizes[0], sizes[1], sizes[2]), affine + 0.0)  # + 0.0: no negative zeros
    except GeometryError as error:
        raise GeometryError(error.what, where=where, expected=error.expected, got=error.got, do=error.do) from None
