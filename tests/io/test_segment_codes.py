from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path

import pytest
from pydicom.sr._concepts_dict import concepts

from medseg.errors import ConfigError, FileReadError
from medseg.io.segment_codes import CATEGORIES, SIDES, CodeTable, read_codes, segment_codes

ROWS = list(csv.DictReader((files("medseg.io") / "segment_codes.csv").read_text().splitlines()))


def meaning(name: str) -> str:
    code = segment_codes([name])[0][0]
    return f"{code.type.meaning}, {code.modifier.meaning}" if code.modifier else code.type.meaning


@pytest.mark.parametrize("row", ROWS, ids=[row["names"].split()[0] for row in ROWS])
def test_every_shipped_code_is_one_that_dicom_lists_with_that_meaning(row: dict[str, str]) -> None:
    meanings = {told for entry in concepts["SCT"].values() for told, _ in [entry.get(row["code"], ("", []))]}
    assert row["meaning"] in meanings
    assert row["category"] in CATEGORIES


@pytest.mark.parametrize("code", [*CATEGORIES.values(), *SIDES.values()])
def test_categories_and_sides_are_those_of_dicom(code: tuple[str, str, str]) -> None:
    scheme, value, told = code
    assert told in {entry[value][0] for entry in concepts[scheme].values() if value in entry}


def test_no_name_stands_in_two_rows() -> None:
    names = [name for row in ROWS for name in row["names"].split()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("liver", "Liver"),
        ("Kidney_L", "Kidney, Left"),
        ("Lt Kidney", "Kidney, Left"),
        ("KidneyRight", "Kidney, Right"),
        ("kidneys", "Kidney, Bilateral"),
        ("lung_upper_lobe_left", "Upper lobe of lung, Left"),
        ("lung_middle_lobe_right", "Middle lobe of right lung"),
        ("heart_atrium_left", "Left atrium"),
        ("rib_left_4", "Rib, Left"),
        ("vertebrae_L1", "L1 vertebra"),
        ("liver_tumor", "Neoplasm"),
    ],
)
def test_names_as_programs_and_people_write_them(name: str, told: str) -> None:
    assert meaning(name) == told


@pytest.mark.parametrize(
    "name", ["liver_left", "left", "kidney_left_right", "Dummy7", "gtv", "kidney_cortex", "x" * 99]
)
def test_a_name_that_is_not_known_is_tissue_and_said(name: str) -> None:
    (code,), (note,) = segment_codes([name])
    assert (code.category, code.type, code.modifier, code.known) == (*[CATEGORIES["tissue"]] * 2, None, False)
    assert "--codes" in note


def test_known_names_need_no_remark_and_unknown_ones_get_colours_of_their_own() -> None:
    assert segment_codes(["liver", "spleen"])[1] == ()
    assert len({code.colour for code in segment_codes(["a1", "a2", "a3", "a4"])[0]}) == 4


def test_the_users_own_table_goes_first(tmp_path: Path) -> None:
    path = tmp_path / "codes.yaml"
    path.write_text('labels: {liver: {type: "99HERE L7 Liver graft", side: right, colour: "#0a0b0c"}}\n')
    (code,), notes = segment_codes(["Liver"], read_codes(path))
    assert (tuple(code.type), code.modifier, code.colour) == (
        ("99HERE", "L7", "Liver graft"),
        SIDES["right"],
        (10, 11, 12),
    )
    assert notes == ()


def test_a_csv_table_says_the_same_as_a_yaml_one(tmp_path: Path) -> None:
    path = tmp_path / "codes.csv"
    path.write_text("name,category,type,side,colour\ngtv,abnormality,SCT 108369006 Neoplasm,,\n")
    (code,), _ = segment_codes(["gtv"], read_codes(path))
    assert (code.category, code.type.value, code.modifier) == (CATEGORIES["abnormality"], "108369006", None)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("gtv,,,", "codes.csv:2.*type"),
        (",,SCT 1 Thing,", "codes.csv:2: a line without a name"),
        ("gtv,,Neoplasm,", "no code"),
        ("gtv,,SCT 1 Thing,up", "side"),
        ("gtv,,SCT 1 Thing,\ngtv,,SCT 1 Thing,", "codes.csv:3: a name that stands there twice"),
    ],
)
def test_a_fault_in_a_table_is_named_with_its_line(tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "codes.csv"
    path.write_text(f"name,category,type,side\n{line}\n")
    with pytest.raises(ConfigError, match=fault):
        read_codes(path)


def test_a_table_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileReadError, match=r"codes\.csv"):
        read_codes(tmp_path / "codes.csv")


def test_an_empty_table_knows_nothing() -> None:
    assert segment_codes(["liver"], CodeTable())[0][0].type.meaning == "Liver"
