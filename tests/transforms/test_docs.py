"""What docs/transforms.md says can be run, and it shows every transform and every preset with its own settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image
from ruamel.yaml import YAML

from medseg.config import build_config
from medseg.transforms import TransformsConfig
from medseg.transforms.presets import PRESETS
from medseg.transforms.registry import EVERY_STEP
from tools import transforms_page

DOCS = Path(__file__).parents[2] / "docs"
PICTURES = DOCS / "images" / "transforms"
TEXT = (DOCS / "transforms.md").read_text(encoding="utf-8")
MOST_BYTES = 1_500_000
NAMES = [step.name for step in EVERY_STEP]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def section(name: str) -> str:
    """What the page says of a transform."""
    return TEXT.split(f"### `{name}`\n")[1].split("\n### ")[0]


def _import_lightning() -> None:
    try:
        import pytorch_lightning  # noqa: F401
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision made for another PyTorch
        pytest.skip(f"PyTorch Lightning, of the test extra, cannot be imported here: {error}")


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_blocks_run(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    code = blocks("python")[number]
    if "pytorch_lightning" in code:
        _import_lightning()

    exec(code, {"__name__": "example"})

    assert capsys.readouterr().out


def test_yaml_block_is_a_valid_recipe_part() -> None:
    data = YAML(typ="safe", pure=True).load(blocks("yaml")[0])
    affine, *_, window = build_config(TransformsConfig, data["transforms"]).complete()

    assert (affine.name, affine.probability, window.name) == ("affine", 0.5, "window")


def test_tables_are_what_docstrings_and_presets_say() -> None:
    assert transforms_page.rewritten(TEXT) == TEXT, "run python tools/transforms_page.py"


@pytest.mark.parametrize("step", EVERY_STEP, ids=NAMES)
def test_every_setting_of_every_transform_is_explained(step) -> None:
    rows = [row.split("|") for row in section(step.name).splitlines() if row.startswith("| `")]
    explained = {key: row[3].strip() for row in rows for key in re.findall(r"`(\w+)`", row[1])}

    assert set(explained) == set(type(step).model_fields) - {"name"}
    assert all(explained.values()), [key for key, text in explained.items() if not text]


@pytest.mark.parametrize("name", NAMES)
def test_every_transform_is_shown_before_and_after(name: str) -> None:
    assert f'<img src="images/transforms/{name}.png"' in section(name)
    with Image.open(PICTURES / f"{name}.png") as picture:
        half = (picture.width - 4) // 2
        before, after = (picture.convert("RGB").crop((x, 0, x + half, picture.height)) for x in (0, half + 4))
    assert before.tobytes() != after.tobytes()


def test_pictures_are_small_together() -> None:
    assert sum(path.stat().st_size for path in PICTURES.glob("*.png")) < MOST_BYTES


def test_every_preset_is_listed_with_its_steps() -> None:
    for name, preset in PRESETS.items():
        row = next(line for line in TEXT.splitlines() if line.startswith(f"| `{name}` |"))
        assert all(f"{step.name} {step.probability:g}" in row for step in preset.steps)
