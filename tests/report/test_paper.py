"""The paragraph for a paper: numbers in brackets, references in their order, one hash for the whole input."""

from __future__ import annotations

import re

from medseg.report.paper import SOURCES, combined_hash, paper_text


def test_every_number_in_the_text_has_its_reference(make_agreement):
    text, references = paper_text(make_agreement())
    numbers = [int(number) for found in re.findall(r"\[([\d, ]+)\]", text) for number in found.split(",")]
    assert list(dict.fromkeys(numbers)) == list(range(1, len(references) + 1))
    assert set(references) <= set(SOURCES.values())


def test_only_what_was_done_is_cited(make_agreement):
    without, _ = paper_text(make_agreement(models=()))
    assert "CLAIM" not in without and "difference D" not in without
    agreement = make_agreement()
    agreement["config"] |= {"primary": "liver:dice", "secondary": ["spleen:dice"]}
    text, references = paper_text(agreement)
    assert "The primary question was liver:dice" in text and SOURCES["holm"] in references


def test_one_hash_stands_for_all_files_whatever_their_order():
    hashes = {"a": "0" * 64, "b": "1" * 64}
    assert combined_hash(hashes) == combined_hash(dict(reversed(hashes.items())))
    assert combined_hash(hashes) != combined_hash(hashes | {"b": "2" * 64})
