"""rois.yaml: every name by one rule, the rater from where the user says, standard names for what is not known."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.config import read_config
from medseg.errors import ConfigError, FileReadError, LabelError
from medseg.io.name_patterns import checked_pattern, matches
from medseg.io.roi_names import RoiRules, read_roi_rules, suggest_rules
from medseg.io.tg263 import PAIRED, SINGLE, tg263_name

RULES = """\
labels:
  liver: {value: 1, match: ["liver", "hepar.*"]}
  kidney_left: {value: 2, match: "(lt|left).?kidney"}
  kidney_right: {value: 3, match: "(rt|right).?kidney"}
mirror_pairs: [[kidney_left, kidney_right]]
ignore: ["couch.*", body]
"""


@pytest.fixture
def rules_file(tmp_path: Path) -> Path:
    path = tmp_path / "rois.yaml"
    path.write_text(RULES, encoding="utf-8")
    return path


def with_rater(**rater: object) -> RoiRules:
    return RoiRules.model_validate({"labels": {"liver": {"value": 1, "match": "liver"}}, "rater": rater})


# ---- names


def test_whole_names_match_in_any_case_and_ignored_names_are_left_out(rules_file: Path) -> None:
    found = read_roi_rules(rules_file).match(["LIVER", "Lt Kidney", "CouchSurface", "Body"])

    assert {name: region.label for name, region in found.items()} == {"LIVER": "liver", "Lt Kidney": "kidney_left"}


def test_part_of_a_name_is_no_match(rules_file: Path) -> None:
    with pytest.raises(LabelError, match="no rule knows 'my liver'"):
        read_roi_rules(rules_file).match(["my liver"])


def test_everything_that_does_not_fit_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "rois.yaml"
    path.write_text(RULES.replace('"hepar.*"', '"hepar.*", ".*kidney"'), encoding="utf-8")

    with pytest.raises(LabelError) as caught:
        read_roi_rules(path).match(["Liver", "hepar 2", "lt kidney", "Spinal Cord", "Dummy (x)"], where="case c1")

    message = str(caught.value)
    assert message.startswith("case c1: ") and "\n" not in message
    assert "no rule knows 'Spinal Cord' (TG-263: SpinalCord), 'Dummy (x)'" in message
    assert "several rules know 'lt kidney' (liver and kidney_left)" in message
    assert "one label for 'Liver' and 'hepar 2' (liver)" in message
    assert 'labels: {spinalcord: {value: 4, match: ["Spinal Cord"]}}, ignore: ["Dummy \\\\(x\\\\)"]' in message


def test_a_name_that_a_label_and_the_ignore_list_know_is_refused(rules_file: Path) -> None:
    with pytest.raises(LabelError, match=r"'couch liver' \(liver and ignore\)"):
        read_roi_rules(rules_file, ["labels.liver.match=.*liver"]).match(["couch liver"])


def test_unknown_names_may_be_left_out_on_request(rules_file: Path) -> None:
    assert list(read_roi_rules(rules_file, ["unmatched=ignore"]).match(["liver", "Dummy"])) == ["liver"]


def test_several_regions_may_become_one_label_on_request(rules_file: Path) -> None:
    rules = read_roi_rules(rules_file, ["labels.liver.several=unite"])

    assert set(rules.match(["liver", "hepar 2", "hepar 3"]).values()) == {("liver", "")}


def test_the_same_name_twice_is_two_regions(rules_file: Path) -> None:
    with pytest.raises(LabelError, match="one label for 'liver' and 'liver'"):
        read_roi_rules(rules_file).match(["liver", "liver"])


def test_names_with_control_characters_or_beyond_64_characters_stay_on_the_line(rules_file: Path) -> None:
    with pytest.raises(LabelError) as caught:
        read_roi_rules(rules_file).match(["liver\n\x1b[2J", "hepar" + "x" * 500])

    assert str(caught.value).isprintable() and "'liver??[2J'" in str(caught.value) and "x" * 70 not in str(caught.value)


def test_the_label_set_has_the_rules_values(rules_file: Path) -> None:
    labels = read_roi_rules(rules_file).label_set

    assert dict(labels.values) == {"background": 0, "liver": 1, "kidney_left": 2, "kidney_right": 3}
    assert labels.mirror_pairs == (("kidney_left", "kidney_right"),)


# ---- the file


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"hepar.*"', '"hepar("', r"rois.yaml:2:38: labels.liver.match.1: not a regular expression: missing \)"),
        ("(lt|left).?kidney", "(l+t*)+kidney", r"rois.yaml:3:27: .*that can take for ever: it repeats a group"),
        ("couch.*", "c.*o.*u.*c.*h.*", "that can take for ever: it has 5 repeats, at most 4"),
        ("ignore:", "ignored:", r"rois.yaml:6:1: ignored: unknown key \(did you mean 'ignore'\?\)"),
        ("value: 2", "value: 1", "a label value is used twice"),
        ("value: 2", "value: 0", "greater than or equal to 1"),
        ("  liver:", "  background:", "rois.yaml:2:3: labels.background: no name for a label"),
        ("  liver:", "  ../liver:", "no name for a label"),
        ("[[kidney_left, kid", "[[kidney_lft, kid", "unknown label 'kidney_lft'"),
        ("ignore:", "priority: [livr]\nignore:", r"priority.0: unknown label 'livr' \(did you mean 'liver'\?\)"),
        ("ignore:", "priority: [liver]\nignore:", "`overlap: priority` and the list `priority:` belong together"),
        ("ignore:", "overlap: priority\nignore:", "`overlap: priority` and the list `priority:` belong together"),
        ("ignore:", "trust: everything\nignore:", "trust: wrong value; expected 'all', 'frame', 'images' or"),
        ("ignore:", "rater: {from: tea}\nignore:", "rater.from: wrong value"),
        ("ignore:", "rater: {from: suffix}\nignore:", "`from: suffix` needs a `pattern:`"),
        ("ignore:", "rater: {from: name}\nignore:", "`from: name` and `name:` belong together"),
        ("ignore:", "rater: {from: name, name: a/b}\nignore:", "'a/b' cannot be a rater's name"),
        (RULES, "labels: {}", "labels: wrong value"),
        (RULES, "labels: !!python/object/apply:os.system [ls]", "rois.yaml"),
        (RULES, "- 1", "not a mapping"),
    ],
)
def test_a_fault_is_told_with_its_place(rules_file: Path, old: str, new: str, reason: str) -> None:
    assert old in RULES
    rules_file.write_text(RULES.replace(old, new), encoding="utf-8")

    with pytest.raises(ConfigError, match=reason):
        read_roi_rules(rules_file)


def test_overrides_pass_the_same_checks(rules_file: Path) -> None:
    assert read_roi_rules(rules_file, ["trust=frame", "crossing=union"]).trust == "frame"
    with pytest.raises(ConfigError, match="override trust"):
        read_roi_rules(rules_file, ["trust=nobody"])
    with pytest.raises(FileReadError, match="no such file"):
        read_roi_rules(rules_file.with_name("absent.yaml"))


@pytest.mark.parametrize("pattern", [r"(a+)+b", r"(a|a)*b", r"((\w+)_?)+", r"(?:x{1,9}){2,}", r"([ab]*){3,9}c",
                                     "(a?){64}a{64}", "a?" * 64 + "a{64}", "(a|a)" * 64 + "b", "(a*){5}",
                                     "((((){999}){999}){999}){999}", "(?x)a # (", "(?:(?:a?){8}){8}"])  # fmt: skip
def test_expressions_that_take_exponential_time_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="can take for ever"):
        checked_pattern(pattern)


@pytest.mark.parametrize("pattern", [r"gtv[_ ]?(p|n)?\d*", r"(lt|left).*", r"[(+*]+", r"\(a\+\)\+", r"(\d{2}_){3}x",
                                     r".*(left|l|lt|sin)[ _]?.*(kidney|niere)(?:[ _]\d{1,2})?", r"(?i)a{,3}|b{}[]x]+?",
                                     r"(?P<side>l|r)_(?!old)(?P=side)"])  # fmt: skip
def test_ordinary_expressions_are_accepted(pattern: str) -> None:
    assert checked_pattern(pattern) == pattern


def test_the_longest_name_and_the_most_repeats_come_to_an_end() -> None:
    assert not matches([checked_pattern(r".*.*.*.*[!]"), checked_pattern("(?:a?){22}b")], "a" * 64)
    assert not matches([".*"], "a" * 65)


# ---- raters


def test_the_rater_is_told_by_the_folder_the_file_the_label_or_a_name(tmp_path: Path) -> None:
    path = tmp_path / "AB" / "p01" / "RS_CD_final.dcm"

    assert with_rater(**{"from": "folder"}).rater.rater(path) == "p01"
    assert with_rater(**{"from": "folder", "up": 2}).rater.rater(path) == "AB"
    assert with_rater(**{"from": "file", "pattern": "rs_(?P<rater>[a-z]+)"}).rater.rater(path) == "CD"
    assert with_rater(**{"from": "label", "pattern": "by (.*)"}).rater.rater(path, "Drawn by EF ") == "EF"
    assert with_rater(**{"from": "name", "name": "GH"}).rater.rater(path) == "GH"


def test_found_names_can_be_given_others(tmp_path: Path) -> None:
    rater = with_rater(**{"from": "label", "names": {"Dr. Müller / 2": "A"}}).rater

    assert rater.rater(tmp_path, "Dr. Müller / 2") == "A"
    with pytest.raises(LabelError, match=r"StructureSetLabel tells no name that can be used.*`names:`") as caught:
        rater.rater(tmp_path, "Dr. Meier / 2")
    assert "Meier" not in str(caught.value)


def test_a_place_that_does_not_tell_the_rater_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"c1: the file's name does not tell the rater; expected a match of R\(x\)"):
        with_rater(**{"from": "file", "pattern": "R(x)"}).rater.rater(tmp_path / "1.2.3.dcm", where="case c1")
    with pytest.raises(LabelError, match="the StructureSetLabel tells no name"):
        with_rater(**{"from": "label"}).rater.rater(tmp_path / "rs.dcm", "")


def test_suffixes_tell_raters_of_regions() -> None:
    rules = with_rater(**{"from": "suffix", "pattern": "[_ ](?P<rater>[a-z]{2})", "names": {"CD": "second"}})

    found = rules.match(["Liver_AB", "liver CD"])

    assert found == {"Liver_AB": ("liver", "AB"), "liver CD": ("liver", "second")}
    with pytest.raises(LabelError, match=r"'liver' \(no rater's suffix\), 'Lt Kidney_AB' \(TG-263: Kidney_L\)"):
        rules.match(["liver", "Lt Kidney_AB"])


# ---- suggestions


@pytest.mark.parametrize(
    ("name", "standard"),
    [
        ("LungLt", "Lung_L"), ("R Lung", "Lung_R"), ("LLung", "Lung_L"), ("bilateral lungs", "Lungs"),
        ("femoral head, right", "Femur_Head_R"), ("SPINAL_CORD", "SpinalCord"), ("Brain Stem", "Brainstem"),
        ("PTV 60Gy", "PTV"), ("gtvp", "GTV"), ("Optic Nerve L", "OpticNrv_L"), ("parotid_l", "Parotid_L"),
        ("oesophagus", "Esophagus"), ("BODY", "External"), ("Pancrease", "Pancreas"), ("Lens_R", "Lens_R"),
        ("lung", ""), ("Left Right Lung", ""), ("Struct 7", ""), ("", ""), ("1", ""),
    ],
)  # fmt: skip
def test_what_people_write_has_a_standard_name(name: str, standard: str) -> None:
    assert tg263_name(name) == standard


def test_every_standard_name_is_its_own() -> None:
    assert all(tg263_name(name) == name for name in SINGLE)
    assert all(tg263_name(f"{name}_{side}") == f"{name}_{side}" for name in PAIRED for side in "LR")
    assert len(PAIRED) + len(SINGLE) >= 60


def test_suggested_rules_match_the_names_that_they_were_made_for(tmp_path: Path) -> None:
    names = ["Lt Kidney", "Kidney_R", "Liver (old)", "A+B", "Couch\tTop"]
    path = tmp_path / "rois.yaml"
    path.write_text(suggest_rules(names), encoding="utf-8")

    rules = read_config(path, RoiRules)

    assert list(rules.labels) == ["kidney_left", "kidney_right", "couchsurface"]
    assert rules.mirror_pairs == (("kidney_left", "kidney_right"),)
    assert [region.label for region in rules.match([names[0], names[1], names[4]]).values()] == list(rules.labels)
    assert '#   "A\\\\+B"' in path.read_text(encoding="utf-8")
