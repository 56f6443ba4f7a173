from __future__ import annotations

import csv
import json
import re

import pytest
from matplotlib.figure import Figure

from medseg.errors import FileReadError, UsageError
from medseg.report.figure_data import FigureData, read_figure_data
from medseg.report.figure_file import KINDS, draw, save, width_in_mm

CURVES = {"tolerance_mm": [0.0, 2.0], "human_human": [0.5, 1.0], "model_human": [0.4, 0.9], "n_patients": 24}
BINS = {"probability": [0.2], "observed_soft": [0.3], "observed": [[0.2], [0.4]], "voxels": [9]}
MAP = {"names": ["A", "B"], "coordinates": [[0, 0], [1, 0]]}


@pytest.fixture
def data(make_agreement, make_pairs, make_cases):
    agreement = make_agreement()
    for entry in agreement["labels"].values():
        entry["embedding"] = MAP
        entry["models"]["unet"] |= {"surface_curves": CURVES, "reliability": BINS}
    return FigureData(agreement, make_pairs(), make_cases())


@pytest.fixture
def folder(tmp_path, data):
    (tmp_path / "agreement.json").write_text(json.dumps(data.agreement), encoding="utf-8")
    for name, rows in (("pairs.csv", data.pairs), ("cases.csv", data.cases)):
        with open(tmp_path / name, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn_as_wide_as_asked(kind, data):
    figure = draw(kind, data, width_mm=85)

    assert isinstance(figure, Figure)
    assert figure.get_figwidth() * 25.4 == pytest.approx(85)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_agreement_does_not_hold_is_an_error_in_words(kind, data):
    bare = FigureData({"design": {"models": [], "raters": []}, "labels": {"liver": {}}, "schema": ""})

    with pytest.raises(UsageError, match=r"liver|readers"):
        draw(kind, bare)


@pytest.mark.parametrize("form", ["pdf", "svg", "png"])
def test_the_same_figure_gives_the_same_bytes_without_date_program_or_folder(form, data, tmp_path):
    for name in ("a", "b"):
        save(draw("bland-altman", data, label="liver"), tmp_path / f"{name}.{form}", dpi=100)

    first, second = ((tmp_path / f"{name}.{form}").read_bytes() for name in ("a", "b"))
    assert first == second
    assert not re.search(rb"Date|dc:|matplotlib\.org|Producer|Creator|Software", first)
    assert str(tmp_path).encode() not in first


def test_the_fonts_of_a_pdf_are_inside(data, tmp_path):
    save(draw("forest", data), tmp_path / "a.pdf")

    assert b"/FontFile2" in (tmp_path / "a.pdf").read_bytes()


def test_an_svg_file_needs_no_fonts(data, tmp_path):
    save(draw("forest", data), tmp_path / "a.svg")

    assert "<text" not in (tmp_path / "a.svg").read_text(encoding="utf-8")


def test_a_png_has_as_many_dots_as_its_width_asks_for(data, tmp_path):
    save(draw("scatter", data, width_mm=50.8), tmp_path / "a.png", dpi=300)

    assert int.from_bytes((tmp_path / "a.png").read_bytes()[16:20]) == 600


def test_without_a_label_the_one_with_the_lowest_d_is_drawn(data):
    data.agreement["labels"]["spleen"]["models"]["unet"]["difference"]["dice"] = {"mean": -0.2}

    assert draw("scatter", data).axes[0].get_title().startswith("spleen")


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"kind": "forrest"}, "Did you mean 'forest'"),
        ({"kind": "forest", "metric": "dise"}, "Did you mean 'dice'"),
        ({"kind": "scatter", "label": "livr"}, "Did you mean 'liver'"),
        ({"kind": "scatter", "width_mm": 4.0}, "40 to 400 mm"),
        ({"kind": "scatter", "width_mm": float("nan")}, "40 to 400 mm"),
    ],
)
def test_a_wrong_option_is_refused_with_the_nearest_right_one(wrong, hint, data):
    with pytest.raises(UsageError, match=hint):
        draw(data=data, **wrong)


@pytest.mark.parametrize(
    ("name", "dpi", "hint"), [("a.jpg", 600, "pdf"), ("a", 600, "pdf"), ("a.png", 9, "50 to 2400")]
)
def test_a_file_that_cannot_be_written_so_is_refused(name, dpi, hint, data, tmp_path):
    with pytest.raises(UsageError, match=hint):
        save(draw("forest", data), tmp_path / name, dpi=dpi)


@pytest.mark.parametrize("text", ["", "mm", "-5mm", "85 px", "1e9", "nan"])
def test_a_width_without_number_or_known_unit_is_refused(text):
    with pytest.raises(UsageError, match="width"):
        width_in_mm(text)


def test_anonymous_readers_get_no_matrix(data):
    data.agreement["design"]["anonymous"] = True

    with pytest.raises(UsageError, match="anonymous"):
        draw("matrix", data)


def test_files_give_the_same_figure_as_the_rows_in_memory(folder, data):
    read = draw("bland-altman", read_figure_data(folder / "agreement.json"), label="liver")
    kept = draw("bland-altman", data, label="liver")

    for one, other in zip(read.axes[0].lines, kept.axes[0].lines, strict=True):
        assert one.get_xydata().tolist() == other.get_xydata().tolist()


def test_empty_cells_are_none_and_names_of_digits_stay_names(folder):
    (folder / "cases.csv").write_text("case,label,metric,human_human,model_human\n007,1,dice,,0.5\n", encoding="utf-8")

    (row,) = read_figure_data(folder / "agreement.json").cases
    assert row == {"case": "007", "label": "1", "metric": "dice", "human_human": None, "model_human": 0.5}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("agreement.json", b"{"),
        ("agreement.json", b'{"schema": NaN}'),
        ("agreement.json", b"[]"),
        ("agreement.json", b'{"schema": "medseg.agreement/1"}'),
        ("agreement.json", b"\xff\xfe"),
        ("agreement.json", b"[" * 100_000),
        ("pairs.csv", b"case,label\nc,l\n"),
        ("pairs.csv", b"case,label,a,b,kind,dice\nc,l,A,B,human-human,much\n"),
        ("cases.csv", b"case,label,metric,human_human,model_human\nc,l\n"),
        ("cases.csv", b'case,label,metric,human_human,model_human\n"c\n'),
        ("cases.csv", b""),
    ],
)
def test_a_damaged_file_is_named(name, content, folder):
    (folder / name).write_bytes(content)

    with pytest.raises(FileReadError, match=re.escape(name)):
        read_figure_data(folder / "agreement.json")


@pytest.mark.parametrize("name", ["agreement.json", "pairs.csv", "cases.csv"])
def test_a_missing_file_is_named(name, folder):
    (folder / name).unlink()

    with pytest.raises(FileReadError, match=re.escape(name)):
        read_figure_data(folder / "agreement.json")
