"""The MetaImage header (.mha, .mhd), as ITK's MetaIO writes it.

World coordinates are LPS, the frame of ITK and DICOM. `TransformMatrix` gives the direction of one axis after another
and is the identity where it is absent. `AnatomicalOrientation` is not asked: MetaIO's definition and ITK's writer give
its letters opposite meanings, and ITK's reader leaves it out as well.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.errors import FileReadError, GeometryError
from medseg.io.itk_header import LPS_TO_RAS, ItkHeader, Stored, grid, inside, read_header_lines, whole_sizes
from medseg.io.roi_suggestions import shown_name
from medseg.shapes import FloatArray

TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip
ORIGIN, MATRIX = ("Offset", "Origin", "Position"), ("TransformMatrix", "Rotation", "Orientation")
BYTE_ORDER = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")


def read_metaimage_header(path: Path, where: str) -> ItkHeader:
    """The header of a MetaImage file.

    Raises:
        FileReadError: no MetaImage header, or something that is not read (several data files).
        GeometryError: it does not say where the voxels lie in the patient.
    """
    lines, end = read_header_lines(path, where, b"elementdatafile")
    fields: dict[str, str] = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if not equals or name.strip() in fields:
            raise FileReadError("the MetaImage header is damaged: a line is no field, or a field comes twice",
                                where=where, do="Copy or export it again.")  # fmt: skip
        fields[name.strip()] = value.strip()
    if fields.get("ObjectType", "Image").lower() != "image" or "NDims" not in fields:
        raise FileReadError("not a MetaImage", where=where, expected="ObjectType = Image with NDims",
                            do="Convert it, or check the path.")  # fmt: skip
    try:
        return _header(path, end, fields, where)
    except (KeyError, ValueError) as error:
        missing = f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else "a field is malformed"
        raise FileReadError(f"the MetaImage header is damaged: {missing}", where=where,
                            do="Copy or export it again.") from None  # fmt: skip


def _header(path: Path, end: int, fields: dict[str, str], where: str) -> ItkHeader:
    dimension = int(fields["NDims"])
    if not 3 <= dimension <= 4:
        raise GeometryError("not a volume", where=where, expected="three axes", got=f"{dimension} axes")
    sizes = whole_sizes(fields["DimSize"], dimension, where)
    if dimension == 4 and sizes[3] != 1:
        raise FileReadError(f"4-D with {sizes[3]} frames", where=where, expected="one volume of three axes",
                            do="Save the frame you want as a file of its own.")  # fmt: skip
    spacing = _numbers(fields.get("ElementSpacing") or fields["ElementSize"], dimension)
    if spacing.min() <= 0:
        raise GeometryError("a spacing that is not positive", where=where, got=f"{spacing.min():g} mm")
    if (origin := _first(fields, ORIGIN)) is None:
        raise GeometryError("the header does not say where the voxels lie ('Offset' is missing)", where=where,
                            do="Export it again.")  # fmt: skip
    matrix = _first(fields, MATRIX)
    directions = np.eye(dimension) if matrix is None else _numbers(matrix, dimension**2).reshape(dimension, dimension)
    axes = directions[:3, :3].T * spacing[:3]  # the file's rows are the axes
    geometry = grid(sizes, axes, _numbers(origin, dimension)[:3], LPS_TO_RAS, where)
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    if channels < 1:
        raise ValueError("channels")
    stored = _stored(path, end, fields, (channels, *sizes), where)
    return ItkHeader(stored, geometry, 0 if channels > 1 else None)


def _stored(path: Path, end: int, fields: dict[str, str], sizes: tuple[int, ...], where: str) -> Stored:
    if (kind := TYPES.get(fields["ElementType"].upper())) is None:
        raise FileReadError("a type that is not read", where=where, expected=", ".join(TYPES),
                            got=shown_name(fields["ElementType"]))  # fmt: skip
    order = ">" if _is_true(_first(fields, BYTE_ORDER) or "False") else "<"
    packed = _is_true(fields.get("CompressedData", "False"))
    encoding = "zlib" if packed else "raw" if _is_true(fields.get("BinaryData", "True")) else "text"
    name, start = fields["ElementDataFile"], int(fields.get("HeaderSize", 0))
    if name.upper() == "LOCAL":
        data = (path, end)
    elif name.upper().split(" ")[0] == "LIST" or "%" in name:
        raise FileReadError("the voxels are spread over several data files", where=where, expected="one data file",
                            do="Save it as one .mha file.")  # fmt: skip
    else:
        data = (inside(path, name, where), 0)
    if start < -1 or (start == -1 and encoding != "raw"):
        raise ValueError("HeaderSize")
    if start > 0:
        data = (data[0], data[1] + start)
    length = int(fields["CompressedDataSize"]) if packed and "CompressedDataSize" in fields else None
    return Stored(np.dtype(order + kind), sizes, data, encoding, 0, min(start, 0), length)


def _first(fields: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((fields[name] for name in names if name in fields), None)


def _is_true(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0", "t", "f"):
        raise ValueError("neither True nor False")
    return text.lower() in ("true", "1", "t")


def _numbers(text: str, count: int) -> FloatArray:
    numbers = np.array([float(word) for word in text.split()])
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"not {count} numbers")
    return numbers
