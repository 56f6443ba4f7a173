"""LIDC-IDRI: chest CTs, and up to four radiologists in an XML file each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import FileReadError, InputError
from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.io.manifest import read_dataset, read_reading
from medseg.workflows import import_
from tests.support.rtstruct_writer import WrittenSeries, write_ct

GRID = Geometry((16, 12, 6), np.diag([1.0, 1.0, 2.5, 1.0]))
SLICE = 2
Square = tuple[int, int, int]  # column and row of the first pixel, and the size


def ct(folder: Path, name: str = "ct") -> WrittenSeries:
    hu = np.random.default_rng(0).integers(-1000, 200, GRID.shape).astype(np.float32)
    return write_ct(folder, Volume(hu, GRID), name=name)


def write_xml(
    path: Path, series: WrittenSeries, readers: Sequence[Sequence[Square]], root: str = "LidcReadMessage"
) -> None:
    """One session per reader, one nodule per square on one slice."""
    uids = {index: uid for uid, index in series.instance_uids.items()}
    sessions = "".join(
        f"<readingSession>{''.join(_nodule(square, uids) for square in reader)}</readingSession>" for reader in readers
    )
    header = f"<ResponseHeader><SeriesInstanceUid>{series.uid}</SeriesInstanceUid></ResponseHeader>"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<{root} xmlns="http://www.nih.gov">{header}{sessions}</{root}>', encoding="utf-8")


def _nodule(square: Square, uids: Mapping[int, str]) -> str:
    x, y, size = square
    corners = [(x - 1, y - 1), (x + size, y - 1), (x + size, y + size), (x - 1, y + size), (x - 1, y - 1)]
    edges = "".join(f"<edgeMap><xCoord>{a}</xCoord><yCoord>{b}</yCoord></edgeMap>" for a, b in corners)
    return (
        "<unblindedReadNodule><noduleID>1</noduleID><characteristics><malignancy>4</malignancy></characteristics>"
        f"<roi><imageZposition>{2.5 * SLICE}</imageZposition><imageSOP_UID>{uids[SLICE]}</imageSOP_UID>"
        f"<inclusion>TRUE</inclusion>{edges}</roi></unblindedReadNodule>"
    )


def test_every_reader_of_the_file_is_an_anonymous_rater(tmp_path: Path) -> None:
    series = ct(tmp_path / "in" / "LIDC-IDRI-0001" / "ct")
    write_xml(tmp_path / "in" / "LIDC-IDRI-0001" / "069.xml", series, [[(4, 5, 3)], [(4, 5, 4)], [], [(4, 4, 4)]])

    data = read_dataset(import_("lidc", tmp_path / "in", tmp_path / "out").path)

    assert data.anonymous
    assert data.raters == ("reader_1", "reader_2", "reader_3", "reader_4")
    first = read_reading(data, data.cases[0], "reader_1").mask("nodule")
    assert sorted(map(tuple, np.argwhere(first))) == [(x, y, SLICE) for x in (4, 5, 6) for y in (5, 6, 7)]


def test_a_reader_without_a_nodule_has_read_the_case(tmp_path: Path) -> None:
    write_xml(tmp_path / "in" / "069.xml", ct(tmp_path / "in" / "ct"), [[(4, 5, 3)], []])

    data = read_dataset(import_("lidc", tmp_path / "in", tmp_path / "out").path)

    reading = read_reading(data, data.cases[0], "reader_2")
    assert reading.was_read("nodule")
    assert not reading.mask("nodule").any()


def test_ratings_and_nodule_numbers_stay_with_the_reading(tmp_path: Path) -> None:
    write_xml(tmp_path / "in" / "069.xml", ct(tmp_path / "in" / "ct"), [[(2, 2, 3), (9, 6, 3)], [(9, 6, 4)]])

    data = read_dataset(import_("lidc", tmp_path / "in", tmp_path / "out").path)

    first, second = (data.cases[0].raters[name].source for name in data.raters)
    assert [first["nodule_1"], first["nodule_2"]] == [["malignancy 4"], ["malignancy 4"]]
    assert len({"nodule_1", "nodule_2"} & set(second)) == 1  # the second reader's is one of the first reader's two


def test_readings_of_ct_scans_that_are_not_here_are_counted(tmp_path: Path) -> None:
    write_xml(tmp_path / "in" / "1.xml", ct(tmp_path / "in" / "ct"), [[(4, 5, 3)]])
    write_xml(tmp_path / "in" / "2.xml", ct(tmp_path / "elsewhere", "other"), [[(4, 5, 3)]])
    write_xml(tmp_path / "in" / "3.xml", ct(tmp_path / "elsewhere", "other"), [], root="IdriReadMessage")

    made = import_("lidc", tmp_path / "in", tmp_path / "out")

    assert made.cases == 1
    assert made.notes == ("2 XML files of chest X-rays or of CTs that are not in the source were left out",)


def test_two_files_of_one_ct_are_refused(tmp_path: Path) -> None:
    series = ct(tmp_path / "in" / "ct")
    for name in ("1.xml", "2.xml"):
        write_xml(tmp_path / "in" / name, series, [[(4, 5, 3)]])

    with pytest.raises(InputError, match="2 XML files of one CT"):
        import_("lidc", tmp_path / "in", tmp_path / "out")


def test_a_tree_without_readings_is_refused(tmp_path: Path) -> None:
    ct(tmp_path / "in" / "ct")

    with pytest.raises(FileReadError, match=r"no XML file of any CT.*LIDC-XML-only"):
        import_("lidc", tmp_path / "in", tmp_path / "out")


def test_a_damaged_reading_is_named(tmp_path: Path) -> None:
    write_xml(tmp_path / "in" / "1.xml", ct(tmp_path / "in" / "ct"), [[(4, 5, 3)]])
    (tmp_path / "in" / "2.xml").write_text("<LidcReadMessage>", encoding="utf-8")

    with pytest.raises(FileReadError, match=r"2\.xml: cannot be read as XML"):
        import_("lidc", tmp_path / "in", tmp_path / "out")
