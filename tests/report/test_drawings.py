"""Each figure of an agreement is drawn once, whoever asks for it."""

from __future__ import annotations

from medseg.report import drawings
from medseg.report.drawings import Drawings
from medseg.report.page import agreement_page


def test_page_and_files_share_every_figure(make_agreement, make_pairs, make_cases, monkeypatch):
    calls: list[str] = []
    draw = drawings.to_svg
    monkeypatch.setattr(drawings, "to_svg", lambda figure, name: calls.append(name) or draw(figure, name))
    found = Drawings(make_agreement(labels=("liver",)), make_pairs(("liver",)), make_cases(("liver",)))
    files = found.files()
    html = agreement_page(found.agreement, found.pairs, found.cases, drawings=found)
    assert {"forest", "matrix_liver", "scatter_liver", "volumes_liver"} <= set(files)
    assert len(calls) == len(set(calls)) == len(files) == html.count("<svg")


def test_a_name_that_stands_for_several_people_has_no_cell(make_agreement, make_pairs, make_cases):
    agreement = make_agreement(labels=("liver",))
    agreement["design"]["anonymous"] = True
    found = Drawings(agreement, make_pairs(("liver",)), make_cases(("liver",))).of_label("liver")
    assert "matrix" not in found and "embedding" not in found and "scatter" in found


def test_without_numbers_nothing_is_drawn(make_agreement):
    found = Drawings(make_agreement(models=(), labels=("liver",)))
    assert found.forest() == "" and "volumes" not in found.of_label("liver")
