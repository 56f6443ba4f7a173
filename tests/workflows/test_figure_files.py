"""`figure`: one figure of an agreement as a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.errors import OutputExistsError, UsageError
from medseg.workflows import agree, figure


@pytest.fixture(scope="module")
def agreement(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("figures") / "agreement"
    agree(phantoms, phantoms / "truth", out=out, margin=0.05, draws=200, images=False)
    return out / "agreement.json"


@pytest.mark.parametrize("ending", ["pdf", "svg", "png"])
def test_a_figure_is_written_at_the_width_that_was_asked_for(agreement: Path, tmp_path: Path, ending: str) -> None:
    drawn = figure(agreement, kind="forest", out=tmp_path / f"forest.{ending}", width="3.3in", dpi=100)

    assert drawn.get_size_inches()[0] == pytest.approx(3.3)
    assert (tmp_path / f"forest.{ending}").stat().st_size > 1000


def test_a_figure_that_is_there_is_kept(agreement: Path, tmp_path: Path) -> None:
    (tmp_path / "forest.pdf").write_bytes(b"mine")

    with pytest.raises(OutputExistsError):
        figure(agreement, kind="forest", out=tmp_path / "forest.pdf")
    assert (tmp_path / "forest.pdf").read_bytes() == b"mine"


def test_a_kind_that_is_not_there_names_the_nearest(agreement: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'matrix'"):
        figure(agreement, kind="matrx")
