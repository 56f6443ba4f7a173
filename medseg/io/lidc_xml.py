"""The readings of up to four radiologists in an XML file of LIDC-IDRI, as they stand in the file.

Layout (LidcReadMessage, namespace http://www.nih.gov): one `readingSession` per radiologist with `unblindedReadNodule`
elements, each an outline (`roi`) per slice. Readers are anonymous: number 1 is the first session of this file and not
the same person as number 1 of another. Radiologist and nodule identifiers are not kept.

A point of an outline is column (xCoord) and row (yCoord) of a pixel, counted from 0. The file's own documentation does
not say whether from 0 or 1; on LIDC-IDRI-0001 the contrast between inside and rim is highest for all four readers when
they count from 0 (by 1 to 28 HU against a shift of one pixel).

Source: Armato SG III et al., Medical Physics 38:915-931, 2011; McNitt-Gray MF et al., Academic Radiology 14:1464, 2007.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml.common import DefusedXmlException

from medseg.errors import FileReadError
from medseg.io.roi_suggestions import shown_name
from medseg.shapes import IntArray

ROOT = "LidcReadMessage"
CHARACTERISTICS = ("subtlety", "internalStructure", "calcification", "sphericity", "margin", "lobulation",
                   "spiculation", "texture", "malignancy")  # fmt: skip
MAX_BYTES = 2**25  # the files of the collection have a few MB at most
MAX_NODULES = 4000  # of all readers; a patient with 100 has very many
MAX_PIXEL = 65535
MAX_RATING = 6  # 0 stands where nothing was rated


@dataclass(frozen=True, eq=False)
class LidcContour:
    """One outline on one slice.

    Args:
        points: (N, 2) column and row of the pixels of the outline, from 0.
        z_mm: imageZposition; equal in LPS and RAS.
        inclusion: False for the outline of a part that is no nodule, such as a cavity.
        image_uid: SOPInstanceUID of the slice; never to be shown.
    """

    points: IntArray
    z_mm: float
    inclusion: bool
    image_uid: str = field(repr=False)


@dataclass(frozen=True, eq=False)
class LidcNodule:
    """A nodule as one reader saw it; `ratings` are 1 to 5 or 6 by the file's names, such as malignancy."""

    reader: int
    contours: tuple[LidcContour, ...]
    ratings: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_mark(self) -> bool:
        """Whether it is a nodule below 3 mm, of which only a point was marked: no outline, so no mask."""
        return all(len(contour.points) == 1 for contour in self.contours)


@dataclass(frozen=True, eq=False)
class LidcReader:
    """One session: outlined nodules, nodules below 3 mm as marks, and how many lesions were said to be no nodule."""

    number: int
    nodules: tuple[LidcNodule, ...]
    marks: tuple[LidcNodule, ...]
    non_nodules: int


@dataclass(frozen=True, eq=False)
class LidcReadings:
    """All sessions of a file; a session without a nodule is a reader who saw none."""

    readers: tuple[LidcReader, ...]
    series_uid: str = field(repr=False, default="")


def read_lidc_xml(path: str | Path, *, where: str = "") -> LidcReadings:
    """The readings of a file.

    Raises:
        FileReadError: no such file, no XML, entities or a document type in it, not the reading of a CT, or a field
            that is missing or malformed.
    """
    where = where or "a LIDC XML file"
    root = _root(Path(path), where)
    if (name := _name(root)) != ROOT:
        raise FileReadError("not the reading of a CT", where=where, expected=f"the root element {ROOT}",
                            got="a chest X-ray reading" if name == "IdriReadMessage" else shown_name(name),
                            do="Leave it out: only the XML files of CT series hold nodule outlines.")  # fmt: skip
    try:
        sessions = [element for element in root if _name(element) == "readingSession"]
        readers = tuple(_reader(session, number) for number, session in enumerate(sessions, start=1))
    except (ValueError, OverflowError) as error:
        raise FileReadError(f"the LIDC XML is damaged: {error}", where=where, do="Download it again.") from None
    if not readers:
        raise FileReadError("no reading session", where=where, expected="up to four", do="Download the file again.")
    if sum(len(reader.nodules) for reader in readers) > MAX_NODULES:
        raise FileReadError("more nodules than any patient has", where=where, expected=f"at most {MAX_NODULES}")
    uids = [_text(element) for header in root if _name(header) == "ResponseHeader" for element in header
            if _name(element).lower() in ("seriesinstanceuid", "ctseriesinstanceuid")]  # fmt: skip
    return LidcReadings(readers, uids[0] if uids else "")


def _root(path: Path, where: str) -> Element:
    try:
        with open(path, "rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise FileReadError("too large for a reading", where=where, expected=f"at most {MAX_BYTES} bytes")
        return defusedxml.ElementTree.fromstring(content, forbid_dtd=True)
    except FileNotFoundError:
        raise FileReadError("no such file", where=where, do="Check the path.") from None
    except DefusedXmlException:
        raise FileReadError("the XML declares a document type or entities", where=where,
                            do="Such files can swallow memory or read other files; no LIDC file has any.",
                            ) from None  # fmt: skip
    except (OSError, ParseError, ValueError, LookupError) as error:
        raise FileReadError(f"cannot be read as XML ({type(error).__name__})", where=where,
                            do="The file is damaged: download it again.") from error  # fmt: skip


def _reader(session: Element, number: int) -> LidcReader:
    nodules = [_nodule(element, number) for element in session if _name(element) == "unblindedReadNodule"]
    return LidcReader(
        number,
        tuple(nodule for nodule in nodules if not nodule.is_mark),
        tuple(nodule for nodule in nodules if nodule.is_mark),
        sum(_name(element) == "nonNodule" for element in session),
    )


def _nodule(element: Element, reader: int) -> LidcNodule:
    contours = tuple(_contour(child, reader) for child in element if _name(child) == "roi")
    if not contours:
        raise ValueError(f"a nodule of reader {reader} without an outline")
    ratings = {_name(child): _rating(child) for group in element if _name(group) == "characteristics"
               for child in group if _name(child) in CHARACTERISTICS and _text(child)}  # fmt: skip
    return LidcNodule(reader, contours, ratings)


def _rating(element: Element) -> int:
    value = _number(_text(element), _name(element))
    if not 0 <= value <= MAX_RATING or value != int(value):
        raise ValueError(f"{_name(element)} is no rating")
    return int(value)


def _contour(roi: Element, reader: int) -> LidcContour:
    fields = {_name(child): _text(child) for child in roi if _name(child) != "edgeMap"}
    edges = [{_name(child): _text(child) for child in edge} for edge in roi if _name(edge) == "edgeMap"]
    inclusion = fields.get("inclusion", "").upper()
    missing = [name for name in ("imageZposition", "imageSOP_UID") if not fields.get(name)]
    if missing or inclusion not in ("TRUE", "FALSE") or not edges:
        raise ValueError(f"an outline of reader {reader} without {missing[0] if missing else 'inclusion or edgeMap'}")
    z_mm = _number(fields["imageZposition"], "imageZposition")
    if not np.isfinite(z_mm):
        raise ValueError(f"an outline of reader {reader} at no finite position")
    points = np.array([[_pixel(edge, name) for name in ("xCoord", "yCoord")] for edge in edges], dtype=np.int64)
    return LidcContour(points, z_mm, inclusion == "TRUE", fields["imageSOP_UID"])


def _pixel(edge: Mapping[str, str], name: str) -> int:
    if not (text := edge.get(name, "")):
        raise ValueError(f"a point without {name}")
    value = _number(text, name)
    if not 0 <= value <= MAX_PIXEL or value != int(value):
        raise ValueError(f"{name} is no pixel")
    return int(value)


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} is no number") from None


def _name(element: Any) -> str:
    """The tag without its namespace; empty for comments and processing instructions."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _text(element: Element) -> str:
    return (element.text or "").strip()
