"""The page of `augment-preview`: what it shows of which case, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medseg.errors import ConfigError, GeometryError, OutputExistsError, UsageError
from medseg.io.manifest import read_dataset
from medseg.workflows.previewing import augment_preview

LIDC = Path(__file__).parents[1] / "data" / "dicom" / "lidc"
ONE_STEP = "data: data\ntransforms: {preset: none, steps: [{name: noise, sigma_hu: [7, 7]}]}\n"


def page(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def rows(html: str) -> list[str]:
    """Names of the transforms that are shown one by one."""
    return re.findall(r"<h3>(.*?)</h3>", html)


@pytest.fixture
def noise_recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(ONE_STEP, encoding="utf-8")
    return path


def test_a_case_is_shown_with_every_reader_s_outlines(phantoms: Path, tmp_path: Path) -> None:
    html = page(augment_preview(phantoms, out=tmp_path / "a.html", samples=1, steps=["flip"]))

    assert "contains patient images" in html and "<dd>c001</dd>" in html
    assert "<title>A: liver</title>" in html and "<title>B: liver</title>" in html
    assert rows(html) == ["flip"] and "axes X" in html


def test_the_page_asks_for_nothing_from_elsewhere(phantoms: Path, tmp_path: Path) -> None:
    html = page(augment_preview(phantoms, out=tmp_path / "a.html", samples=1, steps=[]))

    assert "default-src 'none'" in html and "http:" not in html and "https:" not in html and "<script" not in html


def test_every_transform_that_can_act_has_a_row_and_its_parameters(phantoms: Path, tmp_path: Path) -> None:
    html = page(augment_preview(phantoms, out=tmp_path / "a.html", samples=1, preset="ct_default"))

    assert {"affine", "elastic", "flip", "noise"} <= set(rows(html))
    assert re.search(r"<li>rotation [−0-9., ]+°, scale ", html)
    assert "<p>unchanged</p>" not in html.split("One transform at a time")[1]


def test_a_recipe_s_own_transforms_are_shown(phantoms: Path, noise_recipe: Path, tmp_path: Path) -> None:
    html = page(augment_preview(phantoms, out=tmp_path / "a.html", recipe=noise_recipe, samples=0))

    assert rows(html) == ["noise"] and "<li>sigma 7 HU</li>" in html


def test_the_jitter_of_a_window_is_a_row_and_a_fixed_window_none(phantoms: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(ONE_STEP.replace("noise, sigma_hu: [7, 7]", "window, jitter_hu: 20"), encoding="utf-8")
    jittered = page(augment_preview(phantoms, out=tmp_path / "a.html", recipe=recipe, samples=0))
    fixed = page(augment_preview(phantoms, out=tmp_path / "a.html", samples=0))

    assert rows(jittered) == ["window"] and re.search(r"<li>window −1[0-9.]+, 2[0-9.]+ HU</li>", jittered)
    assert "window" not in rows(fixed)


def test_the_same_seed_gives_the_same_page(phantoms: Path, tmp_path: Path) -> None:
    first, again, other = (
        page(augment_preview(phantoms, out=tmp_path / "a.html", samples=2, seed=seed, steps=["noise"]))
        for seed in (3, 3, 4)
    )

    assert first == again != other


def test_without_images_only_outlines_are_left(phantoms: Path, tmp_path: Path) -> None:
    html = page(augment_preview(phantoms, out=tmp_path / "a.html", samples=1, steps=["flip"], images=False))

    assert "data:image" not in html and "no images" in html and "<title>A: liver</title>" in html


def test_a_dicom_series_is_shown_without_labels_under_a_hashed_name(tmp_path: Path) -> None:
    html = page(augment_preview(LIDC, out=tmp_path / "a.html", samples=1, steps=["affine"]))

    assert re.search(r"<dd>series_[0-9a-f]{8}</dd>", html) and 'class="outlines"' not in html
    assert html.count("<svg") == 2 * (1 + 1 + 2)  # original, one sample, two of the affine


def test_what_needs_labels_is_left_out_of_a_case_without_and_the_page_says_so(tmp_path: Path) -> None:
    html = page(augment_preview(LIDC, out=tmp_path / "a.html", preset="ct_strong", samples=1, steps=["contrast_phase"]))

    assert rows(html) == [] and "Without contrast phase, which needs labels." in html


def test_the_case_may_be_named(phantoms: Path, tmp_path: Path) -> None:
    name = read_dataset(phantoms).cases[2].id

    assert f"<dd>{name}</dd>" in page(
        augment_preview(phantoms, out=tmp_path / "a.html", case=name, samples=0, steps=[])
    )


def test_a_coarser_grid_may_be_asked_for(phantoms: Path, tmp_path: Path) -> None:
    html = page(augment_preview(phantoms, out=tmp_path / "a.html", samples=0, steps=[], spacing_mm=(30, 30, 40)))

    assert "<dd>30 x 30 x 40</dd>" in html


def test_a_preview_is_replaced_but_nothing_else(phantoms: Path, tmp_path: Path) -> None:
    path = augment_preview(phantoms, out=tmp_path / "a.html", samples=0, steps=[])
    augment_preview(phantoms, out=path, samples=0, steps=[])
    path.write_text("<html>notes</html>", encoding="utf-8")

    with pytest.raises(OutputExistsError, match="no preview"):
        augment_preview(phantoms, out=path)
    assert page(path) == "<html>notes</html>"


def test_an_unknown_preset_names_the_known_ones(phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ct_default"):
        augment_preview(phantoms, out=tmp_path / "a.html", preset="ct_defualt")


def test_a_transform_that_the_set_lacks_is_refused(phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no 'afine'.*affine"):
        augment_preview(phantoms, out=tmp_path / "a.html", steps=["afine"])


def test_preset_and_recipe_exclude_each_other(phantoms: Path, noise_recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one of --preset and --recipe"):
        augment_preview(phantoms, out=tmp_path / "a.html", preset="none", recipe=noise_recipe)


def test_a_case_of_a_single_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--case"):
        augment_preview(LIDC, out=tmp_path / "a.html", case="c001")


def test_a_spacing_below_zero_is_refused(phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match="three positive lengths"):
        augment_preview(phantoms, out=tmp_path / "a.html", spacing_mm=(2, -2, 2))
