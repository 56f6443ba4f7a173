"""Coded meanings of structures: what a label's name is in SNOMED CT, for segmentations that other software reads.

The table `segment_codes.csv` holds names as TotalSegmentator, TG-263 and people write them, with codes that DICOM's own
context groups list (PS3.16, CID 7151 and others) and, where one is in use, the display colour of dcmqi and 3D Slicer. A
name that it does not hold is written as the generic "Tissue" and said: no code is better than a wrong one.

Names are compared without case, with every run of other signs as one `_`. A side (`left`, `lt`, `l`, `right`, ...) of a
paired organ becomes the laterality modifier (CID 244), a plural of it "Bilateral"; any other side is no match.
"""

from __future__ import annotations

import colorsys
import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, field_validator

from medseg.config import Config, build_config, read_config
from medseg.errors import ConfigError, FileReadError
from medseg.io.roi_suggestions import shown_name

Colour = tuple[int, int, int]
CODE = re.compile(r"(?P<scheme>\S{1,16}) (?P<value>\S{1,16}) (?P<meaning>\S.{0,63})")
SHOWN = 10
GOLDEN_TURN = 0.6180339887  # of the colour circle: neighbours in a list get colours far apart


class Code(NamedTuple):
    """One code: its coding scheme (SCT, DCM, ...), value and meaning."""

    scheme: str
    value: str
    meaning: str


CATEGORIES = {  # PS3.16 CID 7150
    "anatomy": Code("SCT", "91723000", "Anatomical Structure"),
    "tissue": Code("SCT", "85756007", "Tissue"),
    "abnormality": Code("SCT", "49755003", "Morphologically Abnormal Structure"),
    "object": Code("SCT", "260787004", "Physical object"),
    "substance": Code("SCT", "91720002", "Body Substance"),
}
SIDES = {  # PS3.16 CID 244
    "left": Code("SCT", "7771000", "Left"),
    "right": Code("SCT", "24028007", "Right"),
    "both": Code("SCT", "51440002", "Bilateral"),
}
SIDE_WORDS = {"left": "left", "lt": "left", "lft": "left", "l": "left", "right": "right", "rt": "right", "rgt": "right",
              "r": "right", "both": "both", "bilateral": "both"}  # fmt: skip
GENERIC = CATEGORIES["tissue"]


@dataclass(frozen=True)
class SegmentCode:
    """What a segment is.

    Args:
        category: such as Anatomical Structure.
        type: such as Kidney.
        modifier: the side, or None.
        colour: red, green, blue, 0 to 255.
        known: whether a table holds the name; else category and type are the generic Tissue.
    """

    category: Code
    type: Code
    modifier: Code | None
    colour: Colour
    known: bool = True


class CodeEntry(Config):
    """One label of a user's own table.

    Args:
        type: `SCHEME VALUE MEANING`, such as `SCT 10200004 Liver`.
        category: anatomy, tissue, abnormality, object, substance, or a code written as `type`.
        side: left, right or both.
        colour: `#rrggbb`.
    """

    type: str
    category: str = "anatomy"
    side: Literal["left", "right", "both"] | None = None
    colour: str | None = Field(default=None, pattern=r"^#[0-9a-fA-F]{6}$")

    @field_validator("type", "category")
    @classmethod
    def _is_code(cls, value: str) -> str:
        if value not in CATEGORIES and not CODE.fullmatch(value):
            raise ValueError("no code: a scheme, a value and a meaning such as 'SCT 10200004 Liver', or (for category) "
                             f"one of {', '.join(CATEGORIES)}")  # fmt: skip
        return value

    def code(self, place: int) -> SegmentCode:
        """The codes; `place` chooses the colour where the entry gives none."""
        side = SIDES[self.side] if self.side else None
        colour = _rgb(self.colour) if self.colour else palette(place)
        return SegmentCode(_code(self.category), _code(self.type), side, colour)


class CodeTable(Config):
    """A user's own codes by label: the content of `codes.yaml`."""

    labels: dict[str, CodeEntry] = Field(default_factory=dict)


def read_codes(path: str | Path) -> CodeTable:
    """The codes in a YAML file (`labels:` with an entry for each name) or a CSV file (a column `name` and the fields).

    ```yaml
    labels:
      liver: {type: "SCT 10200004 Liver", colour: "#dd8265"}
      gtv: {category: abnormality, type: "SCT 108369006 Neoplasm"}
    ```

    Raises:
        FileReadError: it cannot be read.
        ConfigError: the first fault, with file, line and key.
    """
    path = Path(path)
    if path.suffix.lower() != ".csv":
        return read_config(path, CodeTable)
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            rows = [(number, row) for number, row in enumerate(csv.DictReader(stream), start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileReadError(f"cannot be read as a table ({type(error).__name__})", where=path.name) from error
    return CodeTable(labels=dict(_entries(rows, path.name)))


def _entries(rows: Sequence[tuple[int, Mapping[str, str]]], source: str) -> Iterator[tuple[str, CodeEntry]]:
    seen: set[str] = set()
    for number, row in rows:
        where = f"{source}:{number}"
        filled = {str(key): value.strip() for key, value in row.items() if isinstance(value, str) and value.strip()}
        name = filled.pop("name", "")
        if not name or name in seen:
            raise ConfigError("a line without a name" if not name else "a name that stands there twice", where=where,
                              expected="a column `name` with a label in each line")  # fmt: skip
        seen.add(name)
        yield name, build_config(CodeEntry, filled, source=where)


def segment_codes(
    names: Sequence[str], own: CodeTable | None = None
) -> tuple[tuple[SegmentCode, ...], tuple[str, ...]]:
    """The codes of labels in their order, and a sentence about those for which none is known.

    Args:
        own: looked at first, by the very name and then by the folded one.

    >>> codes, notes = segment_codes(["kidney_left", "Dummy7"])
    >>> codes[0].type.meaning, codes[0].modifier.meaning, codes[1].type.meaning
    ('Kidney', 'Left', 'Tissue')
    >>> notes
    ("no code is known for 'Dummy7', written as Tissue (SCT 85756007); name it in a table of codes (--codes)",)
    """
    entries = own.labels if own else {}
    folded = {_fold(name): entry for name, entry in entries.items()}
    found: list[SegmentCode] = []
    for place, name in enumerate(names):
        entry = entries.get(name) or folded.get(_fold(name))
        found.append(entry.code(place) if entry else _shipped(name, place))
    unknown = [name for name, code in zip(names, found, strict=True) if not code.known]
    if not unknown:
        return tuple(found), ()
    told = ", ".join(map(shown_name, unknown[:SHOWN]))
    told += f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
    return tuple(found), (f"no code is known for {told}, written as Tissue (SCT {GENERIC.value}); name "
                          f"{'it' if len(unknown) == 1 else 'them'} in a table of codes (--codes)",)  # fmt: skip


def palette(place: int) -> Colour:
    """A colour for the structure at this place of a list."""
    value = 0.95 if place % 2 else 0.8
    red, green, blue = colorsys.hsv_to_rgb((0.05 + place * GOLDEN_TURN) % 1, 0.65, value)
    return round(red * 255), round(green * 255), round(blue * 255)


@dataclass(frozen=True)
class _Row:
    category: Code
    type: Code
    paired: bool
    colour: Colour | None

    def code(self, place: int, side: str = "") -> SegmentCode:
        return SegmentCode(self.category, self.type, SIDES[side] if side else None, self.colour or palette(place))


@cache
def _table() -> Mapping[str, _Row]:
    text = (files("medseg.io") / "segment_codes.csv").read_text(encoding="utf-8")
    rows: dict[str, _Row] = {}
    for line in csv.DictReader(text.splitlines()):
        row = _Row(CATEGORIES[line["category"]], Code("SCT", line["code"], line["meaning"]), line["sides"] == "paired",
                   _rgb(line["colour"]) if line["colour"] else None)  # fmt: skip
        rows |= dict.fromkeys(line["names"].split(), row)
    return rows


def _shipped(name: str, place: int) -> SegmentCode:
    table, folded = _table(), _fold(name)
    if row := table.get(folded):
        return row.code(place)
    words = folded.split("_")
    sides = [SIDE_WORDS[word] for word in words if word in SIDE_WORDS]
    rest = "_".join(word for word in words if word not in SIDE_WORDS)
    if not sides and (row := table.get(rest.removesuffix("s"))) and row.paired:
        return row.code(place, "both")
    row = table.get(rest) or table.get(rest.removesuffix("s"))
    if len(sides) == 1 and row and row.paired:
        return row.code(place, sides[0])
    return SegmentCode(GENERIC, GENERIC, None, palette(place), known=False)


def _fold(name: str) -> str:
    """Lower-case words with `_` between them, also those that only capitals divide: `KidneyLeft` is kidney_left."""
    divided = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return "_".join(re.findall(r"[^\W_]+", divided.lower()))


def _code(text: str) -> Code:
    if text in CATEGORIES:
        return CATEGORIES[text]
    match = CODE.fullmatch(text)
    assert match is not None  # CodeEntry has looked
    return Code(match["scheme"], match["value"], match["meaning"])


def _rgb(text: str) -> Colour:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
