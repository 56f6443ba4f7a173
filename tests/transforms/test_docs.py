"""What docs/transforms.md says can be run, and its table holds every transform with its own defaults."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from medseg.config import build_config
from medseg.transforms.pipeline import DEFAULT_STEPS, TransformsConfig

TEXT = (Path(__file__).parents[2] / "docs" / "transforms.md").read_text(encoding="utf-8")
ROWS = {row.split("`")[1]: row for row in TEXT.splitlines() if row.startswith("| `")}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(2))
def test_python_blocks_run(number, capsys):
    exec(blocks("python")[number], {})
    assert capsys.readouterr().out


def test_yaml_block_is_a_valid_recipe_part():
    data = YAML(typ="safe", pure=True).load(blocks("yaml")[0])
    affine, *_, window = build_config(TransformsConfig, data["transforms"]).complete()
    assert (affine.name, affine.probability, window.name) == ("affine", 0.5, "window")


@pytest.mark.parametrize("step", DEFAULT_STEPS, ids=[step.name for step in DEFAULT_STEPS])
def test_table_names_every_setting_of_every_transform_with_its_default(step):
    row = ROWS[step.name]
    for key, value in step.model_dump().items():
        if key in ("name", "probability", "window_hu"):
            continue
        shown = value if isinstance(value, tuple) else (value,)
        text = ", ".join(item if isinstance(item, str) else f"{item:g}" for item in shown)
        assert re.search(rf"`{key}`[^·|]*\({re.escape(text)}\)", row), f"{key} ({text})"
    assert f"| {step.probability:g}" in row
