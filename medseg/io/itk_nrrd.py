"""The NRRD header (.nrrd, .nhdr), as teem's format definition describes it.

Which way the axes run is said by `space`: left-posterior-superior (ITK, 3-D Slicer), right-anterior-superior and
left-anterior-superior are turned to RAS; a scanner's own frame, or none, does not say where the patient's left is and
is refused.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from medseg.errors import FileReadError, GeometryError
from medseg.io.itk_header import ItkHeader, Stored, grid, inside, read_header_lines, whole_sizes
from medseg.io.roi_suggestions import shown_name
from medseg.shapes import FloatArray

SPACES = {
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1),
    "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
}  # fmt: skip
TYPES = {
    "i1": ("signed char", "int8", "int8_t"), "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"), "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",), "f8": ("double",),
}  # fmt: skip
ENCODINGS = {"raw": "raw", "gz": "gzip", "gzip": "gzip", "bz2": "bzip2", "bzip2": "bzip2", "txt": "text",
             "text": "text", "ascii": "text"}  # fmt: skip
UNITS_MM = {"mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "cm": 10.0, "m": 1000.0, "um": 1e-3, "µm": 1e-3}
ALIASES = {"datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}
VECTOR = re.compile(r"none|\(([^()]*)\)", re.IGNORECASE)


def read_nrrd_header(path: Path, where: str) -> ItkHeader:
    """The header of an NRRD file.

    Raises:
        FileReadError: no NRRD header, or something that is not read (several data files, hex, blocks).
        GeometryError: it does not say where the voxels lie in the patient.
    """
    lines, end = read_header_lines(path, where, None)
    if not lines or not re.fullmatch(r"NRRD000[1-5]", lines[0].strip()):
        raise FileReadError("not an NRRD file", where=where, do="Convert it, or check the path.")
    fields, pairs = _fields(lines[1:], where)
    try:
        return _header(path, end, fields, pairs, where)
    except (KeyError, ValueError) as error:
        missing = f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else "a field is malformed"
        raise FileReadError(f"the NRRD header is damaged: {missing}", where=where,
                            do="Copy or export it again.") from None  # fmt: skip


def _fields(lines: list[str], where: str) -> tuple[dict[str, str], dict[str, str]]:
    """Fields (`name: value`) and free pairs (`key:=value`)."""
    fields: dict[str, str] = {}
    pairs: dict[str, str] = {}
    for line in lines:
        if line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise FileReadError("the NRRD header is damaged: a line is no field", where=where,
                                do="Copy or export it again.")  # fmt: skip
        if value.startswith("="):
            pairs[name] = value[1:].replace("\\n", "\n").replace("\\\\", "\\")
            continue
        name = ALIASES.get(name.strip().lower(), name.strip().lower())
        if name in fields:
            raise FileReadError(f"the NRRD header gives {shown_name(name)} twice", where=where, do="Export it again.")
        fields[name] = value.strip()
    return fields, pairs


def _header(path: Path, end: int, fields: dict[str, str], pairs: dict[str, str], where: str) -> ItkHeader:
    dimension = int(fields["dimension"])
    sizes = whole_sizes(fields["sizes"], dimension, where)
    vectors = _directions(fields, dimension, where)
    spatial = [axis for axis, vector in enumerate(vectors) if vector is not None]
    others = [axis for axis, vector in enumerate(vectors) if vector is None]
    if len(spatial) != 3 or len([axis for axis in others if sizes[axis] > 1]) > 1:
        raise GeometryError("not a volume", where=where, expected="three spatial axes and at most one other",
                            got=f"{len(spatial)} spatial axes of {dimension}")  # fmt: skip
    to_ras = np.diag([float(sign) for sign in _space(fields, where)])
    origin = np.array(_numbers(fields["space origin"].strip("() "), 3)) if "space origin" in fields else None
    if origin is None:
        raise GeometryError("the header does not say where the voxels lie ('space origin' is missing)", where=where,
                            do="Export it again.")  # fmt: skip
    axes = np.array([vectors[axis] for axis in spatial]).T
    scale = _unit_mm(fields, where)
    geometry = grid(tuple(sizes[axis] for axis in spatial), axes * scale, origin * scale, to_ras, where)
    stored = _stored(path, end, fields, sizes, where)
    wide = [axis for axis in others if sizes[axis] > 1]
    return ItkHeader(stored, geometry, wide[0] if wide else None, pairs)


def _directions(fields: dict[str, str], dimension: int, where: str) -> list[FloatArray | None]:
    """The step in the file's frame along each stored axis, None for those that are not spatial."""
    if "space directions" not in fields:
        raise GeometryError("the header does not say where the voxels lie ('space directions' is missing)",
                            where=where, do="Export it again with its space and origin.")  # fmt: skip
    found = list(VECTOR.finditer(fields["space directions"]))
    if len(found) != dimension or VECTOR.sub("", fields["space directions"]).strip():
        raise ValueError("not one direction per axis")
    return [None if match[1] is None else np.array(_numbers(match[1], 3)) for match in found]


def _space(fields: dict[str, str], where: str) -> tuple[int, int, int]:
    space = fields.get("space", "").lower()
    if space not in SPACES:
        raise GeometryError("the header does not say where the patient's left and front are", where=where,
                            expected="space: left-posterior-superior, or another anatomical one",
                            got=shown_name(space) if space else "no space", do="Export it again.")  # fmt: skip
    return SPACES[space]


def _unit_mm(fields: dict[str, str], where: str) -> float:
    """Millimetres of the unit of length; mm where none is given, as all tools read it."""
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", '"mm"')))
    if len(units) != 1 or (unit := units.pop()) not in UNITS_MM:
        raise GeometryError("a unit of length that is not known", where=where, expected=", ".join(UNITS_MM),
                            got=shown_name(fields.get("space units", "")))  # fmt: skip
    return UNITS_MM[unit]


def _stored(path: Path, end: int, fields: dict[str, str], sizes: tuple[int, ...], where: str) -> Stored:
    kind = next((code for code, names in TYPES.items() if fields["type"].lower() in names), "")
    encoding = ENCODINGS.get(fields["encoding"].lower(), "")
    if not kind or not encoding:
        raise FileReadError("a type or an encoding that is not read", where=where,
                            expected="plain numbers; raw, gzip, bzip2 or text",
                            got=f"{shown_name(fields['type'])}, {shown_name(fields['encoding'])}")  # fmt: skip
    lines, skip = int(fields.get("line skip", 0)), int(fields.get("byte skip", 0))
    if lines < 0 or skip < -1 or (skip == -1 and encoding != "raw"):
        raise ValueError("lines or bytes to skip")
    order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower(), "")
    if not order and kind[1] != "1" and encoding != "text":
        raise KeyError("endian")
    data = (path, end)
    if "data file" in fields:
        name = fields["data file"]
        if name.upper().split(" ")[0] == "LIST" or "%" in name:
            raise FileReadError("the voxels are spread over several data files", where=where, expected="one data file",
                                do="Save it as one .nrrd file.")  # fmt: skip
        data = (inside(path, name, where), 0)
    return Stored(np.dtype((order or "<") + kind), sizes, data, encoding, lines, skip)


def _numbers(text: str, count: int) -> list[float]:
    numbers = [float(word) for word in text.split(",")]
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError(f"not {count} numbers")
    return numbers
