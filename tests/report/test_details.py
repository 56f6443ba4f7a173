from __future__ import annotations

import pytest

from medseg.report.details import (
    delineation,
    detail_tables,
    leave_one_out,
    presence,
    reading_patterns,
    truth,
    volume,
    worst_cases,
)
from medseg.report.tables import agreement_table, margin_share, metric_rule


def cells(table, row=0):
    return dict(zip(table.columns, table.rows[row], strict=True))


@pytest.fixture
def agreement(make_agreement):
    return make_agreement(labels=("liver",))


def test_every_detail_table_has_as_many_cells_as_columns(make_agreement, make_cases):
    tables = detail_tables(make_agreement(models=("unet", "unetr")), make_cases())

    assert len(tables) > 7
    for table in tables:
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_blocks_that_were_not_computed_make_no_table(agreement):
    titles = {table.title for table in detail_tables(agreement, [])}

    assert "Alternative annotator test" not in titles  # null in the file
    assert "Consensus" not in titles  # only nulls inside


def test_presence_shows_counts_and_how_much_worse_than_a_reader_the_model_may_be(agreement):
    row = cells(presence(agreement))

    assert (row["findings"], row["missed"]) == ("22", "1")
    assert row["miss rate"] == "0.045, reader 0.030; difference up to +0.080, n = 22"
    assert row["false-positive rate"] == "not defined (n = 0)"


def test_the_rule_of_the_presence_table_is_told_once(make_agreement):
    assert presence(make_agreement(models=("unet", "unetr"))).note.count("a reader is left out") == 1


def test_reader_and_model_stand_side_by_side_against_the_others(agreement):
    row = cells(leave_one_out(agreement))

    assert row["reader with the others (95 % CI)"] == "0.912"
    assert row["model with the others (95 % CI)"] == "0.921"
    assert row["difference (95 % CI)"] == "+0.009"


def test_without_a_model_leave_one_out_has_no_column_for_it(make_agreement):
    table = leave_one_out(make_agreement(models=()))

    assert table.columns == ("label", "reader left out", "reader with the others (95 % CI)", "n cases")
    assert table.rows[0] == ["liver", "A", "0.912", "22"]


def test_the_truth_table_has_a_row_for_everyone(agreement):
    assert [row[1] for row in truth(agreement).rows] == ["A", "B", "C", "unet"]


def test_without_a_truth_there_is_no_truth_table(agreement):
    del agreement["labels"]["liver"]["truth"]

    assert truth(agreement) is None


def test_volume_limits_of_readers_and_model_stand_below_each_other(agreement):
    table = volume(agreement)

    assert [row[1] for row in table.rows] == ["reader − reader", "unet − reader"]
    assert cells(table, 1)["limits of agreement (ml)"] == "−42.4 to +36.0"


def test_delineation_keeps_sign_interval_and_n(agreement):
    assert cells(delineation(agreement))["Dice"] == "+0.012 (95 % CI −0.001 to +0.025), n = 21"


def test_reading_patterns_count_cases_by_who_read_them():
    def row(case, b, volume_b):
        return {"case": case, "a": "A", "b": b, "volume_a_ml": 1.0, "volume_b_ml": volume_b}

    table = reading_patterns([row("c1", "B", 2.0), row("c2", "B", None), row("c3", "B", 0.0)])

    assert table.rows == [["A, B", 2], ["A", 1]]


def test_the_worst_case_stands_first_and_undefined_ones_are_left_out():
    def row(case, difference):
        return {"case": case, "label": "liver", "metric": "dice", "human_human": 0.9} | {
            "model_human": 0.9,
            "difference": difference,
        }

    table = worst_cases([row("c1", 0.1), row("c2", None), row("c3", -0.2)], "dice")

    assert [line[0] for line in table.rows] == ["c3", "c1"]
    assert worst_cases([row("c2", None)], "dice") is None


def test_the_margin_is_a_share_of_what_readers_disagree_by(agreement):
    # readers agree with Dice 0.91, so they disagree by 0.09; for HD95 the mean of 2.4 mm is the disagreement
    assert margin_share(agreement, "liver", "dice", 0.045) == pytest.approx(0.5)
    assert margin_share(agreement, "liver", "hd95", 1.2) == pytest.approx(0.5)


def test_a_share_of_perfect_agreement_is_not_defined(agreement):
    agreement["labels"]["liver"]["human_human"]["dice"]["mean"] = 1.0

    assert margin_share(agreement, "liver", "dice", 0.05) is None
    assert cells(agreement_table(agreement, "dice"), 1)["margin (share)"] == "0.050"


def test_the_bad_tail_of_a_distance_is_the_upper_one(agreement):
    agreement["labels"]["liver"]["human_human"]["hd95"]["p95"] = 9.5

    assert cells(agreement_table(agreement, "hd95"))["95th percentile"] == "9.500"
    assert "5th percentile" in agreement_table(agreement, "dice").columns


@pytest.mark.parametrize(("metric", "word"), [("dice", "one mask empty: 0"), ("hd95", "infinite"), ("mine", "Higher")])
def test_every_metric_states_its_rule(metric, word, agreement):
    assert word in metric_rule(agreement, metric)
