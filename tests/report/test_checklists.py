from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from medseg.report.checklists import ASK, FILLED, checklist_tables, checklists_html, checklists_markdown, claim, grras


def test_both_lists_have_all_their_items_in_order(make_agreement):
    assert [item.number for item in grras(make_agreement())] == list(range(1, 16))
    assert [item.number for item in claim(make_agreement())] == list(range(1, 43))


def test_what_the_agreement_holds_is_filled_and_the_rest_is_asked_for(make_agreement):
    items = {item.number: item for item in grras(make_agreement())}

    assert items[13].status == FILLED
    assert "liver: D of Dice +0.010 (95 % CI −0.002 to +0.021), n = 24, equivalent" in items[13].text
    assert items[12].status == ASK
    assert items[12].text == ""


def test_an_item_that_is_known_in_part_says_what_is_still_to_be_told(make_agreement):
    annotators = claim(make_agreement())[15]

    assert annotators.status == ASK
    assert annotators.text == "3 readers. (Still to be told: their training and experience.)"


def test_the_authors_answer_fills_an_item_and_keeps_what_was_known(make_agreement):
    annotators = claim(make_agreement(), {16: "Radiologists of 5 to 20 years."})[15]

    assert annotators.status == FILLED
    assert annotators.text == "3 readers. Radiologists of 5 to 20 years."


def test_missing_readings_are_counted(make_agreement):
    assert "Cases without a reading: A 2." in grras(make_agreement())[10].text


def test_copies_among_the_readers_are_told_where_independence_is_asked_for(make_agreement):
    agreement = make_agreement() | {"warnings": ["A and B are identical: they are not independent"]}

    assert "A and B are identical" in grras(agreement)[8].text


def test_readers_alone_have_no_model_to_report(make_agreement):
    (table,) = checklist_tables(make_agreement(models=()))

    assert table.title.startswith("GRRAS")
    assert "Dice 0.910 (95 % CI 0.900 to 0.920)" in table.rows[12][4]


def test_without_a_margin_the_aim_is_descriptive(make_agreement):
    agreement = make_agreement(labels=("liver",))
    agreement["labels"]["liver"]["models"]["unet"]["difference"]["dice"]["margin"] = None

    assert "Descriptive" in claim(agreement)[3].text


def test_self_checks_that_were_run_answer_the_question_of_robustness(make_agreement):
    agreement = make_agreement(labels=("liver",))
    assert claim(agreement)[29].status == ASK

    agreement["labels"]["liver"]["null_control"] = {"A": 0.0}

    assert claim(agreement)[29].text == "Each reader in turn played the model."


def test_many_structures_are_cut_short_and_counted(make_agreement):
    text = grras(make_agreement(tuple(f"s{i}" for i in range(9))))[12].text

    assert "s5" in text
    assert "s6" not in text
    assert "3 more in the tables" in text


HOSTILE = '<script>x</script>|a"&b'


@pytest.fixture
def hostile(make_agreement):
    return make_agreement(labels=(HOSTILE,), models=(HOSTILE,), raters=(HOSTILE, "B"))


def test_hostile_names_are_text_in_html(hostile):
    class Tags(HTMLParser):
        found: set[str] = set()  # noqa: RUF012

        def handle_starttag(self, tag, attrs):
            self.found.add(tag)

    Tags().feed(checklists_html(hostile))

    assert Tags.found <= {"div", "table", "caption", "thead", "tbody", "tr", "th", "td", "p"}


def test_hostile_names_keep_the_columns_of_a_markdown_table(hostile):
    rows = [line for line in checklists_markdown(hostile).splitlines() if line.startswith("|")]

    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {6}
    assert "<script" not in re.sub(r"\\<", "", "\n".join(rows))


def test_an_undefined_difference_is_said_to_be_so(make_agreement):
    agreement = make_agreement(labels=("liver",))
    agreement["labels"]["liver"]["models"]["unet"]["difference"]["dice"] |= {"mean": None, "ci95": None}

    assert "not defined" in grras(agreement)[12].text
