"""Names of BIDS files (`sub-01_ses-2_acq-venous_ct.nii.gz`) and the label tables `*dseg.tsv`.

https://bids-specification.readthedocs.io/en/stable/derivatives/imaging.html
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import FileReadError, LabelError
from medseg.imaging.labels import BACKGROUND, LabelSet
from medseg.io.label_files import is_label_file, label_stem
from medseg.io.layouts.label_names import LONGEST, build_label_set, whole_number
from medseg.io.layouts.layout import shown
from medseg.io.layouts.source_files import visible

DERIVED = ("space", "seg", "atlas", "scale", "res", "den", "label", "desc")  # entities that a derivative adds


@dataclass(frozen=True)
class BidsFile:
    """A volume by its name: entities in their order, the suffix, and the pipeline folder under `derivatives`."""

    path: Path
    entities: Mapping[str, str]
    suffix: str
    pipeline: str = ""

    @property
    def session(self) -> tuple[str, str]:
        """Subject and session."""
        return self.entities.get("sub", ""), self.entities.get("ses", "")

    @property
    def source_entities(self) -> set[tuple[str, str]]:
        """The entities that the file of which this was made has too."""
        return {item for item in self.entities.items() if item[0] not in DERIVED}

    def has(self, wish: str) -> bool:
        """Whether the file has an entity such as `acq-venous`, or that suffix."""
        key, _, value = wish.partition("-")
        return self.entities.get(key) == value if value else self.suffix.lower() == wish.lower()


def parse(path: Path, pipeline: str = "") -> BidsFile:
    """The parts of a file's name.

    >>> parse(Path("sub-01_acq-venous_ct.nii.gz")).entities, parse(Path("sub-01_acq-venous_ct.nii.gz")).suffix
    ({'sub': '01', 'acq': 'venous'}, 'ct')
    """
    name = label_stem(path) if is_label_file(path) else path.name.partition(".")[0]
    *parts, suffix = name.split("_")
    pairs = (part.partition("-") for part in parts)
    return BidsFile(path, {key: value for key, _, value in pairs}, suffix, pipeline)


def subjects_files(base: Path, pipeline: str = "") -> Iterator[BidsFile]:
    """Every volume in the subjects' folders directly below `base`."""
    for subject in visible(base):
        if subject.name.startswith("sub-") and subject.is_dir():
            for path in sorted(subject.rglob("*")):
                if is_label_file(path) and not path.name.startswith(".") and not path.is_dir():
                    yield parse(path, pipeline)


def read_label_tables(files: Sequence[BidsFile], root: Path) -> tuple[LabelSet | None, dict[str, str]]:
    """The label set of all tables that apply to the files, and abbreviation to name; None when there is no table.

    A table applies by BIDS's inheritance: it lies in the file's folder or above, and the file has all its entities.

    Raises:
        LabelError: two tables contradict each other.
        FileReadError: a table cannot be read.
    """
    values: dict[str, int] = {}
    abbreviations: dict[str, str] = {}
    for table in dict.fromkeys(table for file in files for table in _tables_for(file, root)):
        for name, value, abbreviation in _read_table(table, root):
            taken = next((other for other, used in values.items() if used == value), name)
            if values.get(name, value) != value or taken != name:
                raise LabelError("two label tables contradict each other", where=shown(table, root),
                                 got=f"{name} {value} and {taken} {values[taken]}",
                                 do="Correct one, or name the values with --labels.")  # fmt: skip
            values[name] = value
            abbreviations |= {abbreviation: name} if abbreviation else {}
    return (build_label_set(values, where="dseg.tsv") if values else None), abbreviations


def _tables_for(file: BidsFile, root: Path) -> Iterator[Path]:
    folder = file.path.parent
    while folder.is_relative_to(root):
        for path in visible(folder):
            if path.name.endswith("dseg.tsv") and parse(path).entities.items() <= file.entities.items():
                yield path
        folder = folder.parent


def _read_table(path: Path, root: Path) -> Iterator[tuple[str, int, str]]:
    """Name, value and abbreviation (or "") of each row."""
    where = shown(path, root)
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileReadError(f"cannot be read as a table ({type(error).__name__})", where=where) from error
    for row in rows:
        index, name = (row.get("index") or "").strip(), (row.get("name") or "").strip()
        value = whole_number(index)
        if value is None or not name:
            raise FileReadError("not a label table", where=where, expected="columns index and name, with tabs",
                                got=", ".join(str(column) for column in row)[:LONGEST])  # fmt: skip
        yield BACKGROUND if value == 0 else name, value, (row.get("abbreviation") or "").strip()
