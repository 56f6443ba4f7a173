"""Tables of the blocks beside D: a row each, with n and rule, and none where the file holds nothing."""

from __future__ import annotations

from typing import Any

from medseg.report.blocks import alt_test, block_tables, degrade, missingness, null_control, ranking

DIFFERENCE: dict[str, Any] = {"mean": -0.02, "ci95": [-0.04, 0.01], "method": "bca", "n": 60, "n_patients": 60}
JUDGED: dict[str, Any] = {"difference": DIFFERENCE, "williams": {"value": 0.98, "ci95": [0.95, 1.0], "n": 60}}


def test_a_file_without_blocks_makes_only_the_table_it_has_numbers_for(make_agreement):
    assert [table.title for table in block_tables(make_agreement())] == ["Chance-corrected agreement"]


def test_damage_stands_beside_the_undamaged_class(make_agreement):
    found = make_agreement(labels=("liver",))
    found["labels"]["liver"]["degrade"] = {
        "player": "unet", "metric": "dice", "rule": "as it was",
        "undamaged": JUDGED | {"class": "equivalent"},
        "damaged": {"erode by 2 mm": JUDGED | {"class": "inferior", "flipped": True}},
    }  # fmt: skip
    table = degrade(found)
    assert table is not None and [row[4:6] for row in table.rows] == [["equivalent", ""], ["inferior", "yes"]]
    assert table.rows[0][3] == "−0.020 (95 % CI −0.040 to +0.010)" and table.note == "As it was."


def test_a_control_that_cannot_be_done_says_why(make_agreement):
    found = make_agreement(labels=("liver",))
    found["labels"]["liver"]["null_control"] = {"readers": {}, "reason": "3 readers are needed"}
    table = null_control(found)
    assert table is not None and table.rows == [["", "liver: 3 readers are needed"]]


def test_models_are_listed_from_best_to_worst_with_their_differences(make_agreement):
    found = make_agreement(models=("a", "b"))
    places = [
        {"model": name, "place": k + 1, "places": [1, 2], "difference": DIFFERENCE} for k, name in enumerate("ab")
    ]
    pairs = [{"model": "a", "other": "b", "difference": DIFFERENCE, "p": 0.2, "p_holm": 0.4}]
    block = {"models": places, "pairs": pairs, "n": 60, "left_out": 0, "rule": "paired"}
    found["ranking"] = {"metric": "dice", "labels": {"liver": block}}
    table = ranking(found)
    assert table is not None and [row[2] for row in table.rows] == ["a", "b", "a minus b"]
    assert table.rows[2][5] == "0.400"


def test_who_read_a_structure_is_counted_by_name(make_agreement):
    found = make_agreement(labels=("liver",))
    counts = {"present": 20, "absent": 2, "missing": 2, "partly": 0}
    entry = {"columns": {"A": counts}, "readers_per_case": {"0": 2, "1": 22}, "rule": "missing is not empty"}
    found["labels"]["liver"]["missingness"] = entry
    table = missingness(found)
    assert table is not None and list(table.rows[0]) == ["liver", "A", "20", "2", "2", "0"]
    assert "22 cases by 1" in str(table.rows[1][1])


def test_a_test_that_is_off_gives_its_reason(make_agreement):
    found = make_agreement(labels=("liver",))
    found["labels"]["liver"]["models"]["unet"]["alt_test"] = {
        "passed": None, "reason": "the readers are anonymous", "winning_rate": None, "advantage_probability": None,
        "epsilon": 0.2, "n": 0, "rule": "patient means", "null_control": {"reason": "off", "mean_pass_rate": None},
    }  # fmt: skip
    table = alt_test(found)
    assert table is not None and table.rows[0][2] == "the readers are anonymous"
