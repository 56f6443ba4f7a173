from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML

from medseg.config import Config, build_config, dump_yaml, read_config, read_yaml, write_config
from medseg.errors import ConfigError, FileReadError


class Unet(Config):
    name: Literal["unet"] = "unet"
    channels: tuple[int, ...] = (8, 16)

    @model_validator(mode="after")
    def _levels(self):
        if len(self.channels) < 2:
            raise ValueError("a U-Net needs at least two levels")
        return self


class Unetr(Config):
    name: Literal["unetr"]
    heads: int = 4


Model = Annotated[Unet | Unetr, Field(discriminator="name")]


class Training(Config):
    steps: Annotated[int, Field(gt=0)] = 500
    rate: float | None = 1e-3
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)


class Recipe(Config):
    model: Model
    training: Training = Training()
    stages: tuple[Training, ...] = ()
    models: tuple[Model, ...] = ()
    sites: dict[str, Model] = Field(default_factory=dict)
    extra: Training | None = None


def read(folder: Path, text: str, *overrides: str) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return read_config(path, Recipe, overrides)


def fault(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, *overrides)
    assert str(folder) not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


UNET = "model: {name: unet}\n"

LOCATED = {
    "a misspelt key": (
        UNET + "training:\n  stpes: 4\n",
        "recipe.yaml:3:3: training.stpes: unknown key (did you mean 'steps'?); expected one of rate, spacing_mm, steps",
    ),
    "a misspelt key at the top": (
        UNET + "\n# a comment\ntrainign: {}\n",
        "recipe.yaml:4:1: trainign: unknown key (did you mean 'training'?); "
        "expected one of extra, model, models, sites, stages, training",
    ),
    "a key far from every known one": (
        UNET + "training: {zzz: 1}\n",
        "recipe.yaml:2:12: training.zzz: unknown key; expected one of rate, spacing_mm, steps",
    ),
    "a misspelt key of an optional group": (
        UNET + "extra:\n    steps: 1\n    rat: 2\n",
        "recipe.yaml:4:5: extra.rat: unknown key (did you mean 'rate'?); expected one of rate, spacing_mm, steps",
    ),
    "a misspelt key in a list": (
        UNET + "stages:\n  - steps: 1\n  - steps: 2\n    rat: 3\n",
        "recipe.yaml:5:5: stages.1.rat: unknown key (did you mean 'rate'?); expected one of rate, spacing_mm, steps",
    ),
    "a misspelt key in a list of tagged groups": (
        UNET + "models:\n  - name: unet\n  - name: unetr\n    heds: 2\n",
        "recipe.yaml:5:5: models.1.heds: unknown key (did you mean 'heads'?); expected one of heads, name",
    ),
    "a misspelt key in a dictionary value": (
        UNET + "sites:\n  a: {name: unet}\n  b: {name: unet, chanels: [8, 8]}\n",
        "recipe.yaml:4:19: sites.b.chanels: unknown key (did you mean 'channels'?); expected one of channels, name",
    ),
    "a misspelt key of a tagged group": (
        "model:\n  heds: 3\n  name: unetr\n",
        "recipe.yaml:2:3: model.heds: unknown key (did you mean 'heads'?); expected one of heads, name",
    ),
    "a wrong name": (
        "model:\n  channels: [8, 8]\n  name: unett\n",
        "recipe.yaml:3:3: model.name: unknown name (did you mean 'unet'?); expected one of unet, unetr, got 'unett'",
    ),
    "a missing name": (
        "model:\n  channels: [8, 8]\n",
        "recipe.yaml:1:1: model.name: missing; expected `name:` with one of unet, unetr",
    ),
    "a missing key": ("training: {}\n", "recipe.yaml:1:1: model: missing. Add `model:`."),
    "a word for a number": (
        UNET + "training:\n  rate: 1\n  steps: many\n",
        "recipe.yaml:4:3: training.steps: wrong value; expected a valid integer, got 'many'",
    ),
    "a number out of range": (
        UNET + "training: {steps: 0}\n",
        "recipe.yaml:2:12: training.steps: wrong value; expected greater than 0, got 0",
    ),
    "a fraction for a count": (
        UNET + "training: {steps: 2.5}\n",
        "recipe.yaml:2:12: training.steps: wrong value; expected a valid integer, got 2.5",
    ),
    "a word in a list of numbers": (
        UNET + "training:\n  spacing_mm: [1,\n    thick, 2]\n",
        "recipe.yaml:4:5: training.spacing_mm.1: wrong value; expected a valid number, got 'thick'",
    ),
    "too few numbers": (
        UNET + "training: {spacing_mm: [1, 2]}\n",
        "recipe.yaml:2:12: training.spacing_mm: wrong value; expected more values, got [1, 2]",
    ),
    "too many numbers": (
        UNET + "training: {spacing_mm: [1, 2, 3, 4]}\n",
        "recipe.yaml:2:12: training.spacing_mm: wrong value; expected at most 3 values, got [1, 2, 3, 4]",
    ),
    "a value for a group": (
        UNET + "training: 5\n",
        "recipe.yaml:2:1: training: wrong value; expected a group of `key: value` lines, got 5",
    ),
    "a rule of the group itself": (
        "\nmodel: {name: unet, channels: [8]}\n",
        "recipe.yaml:2:1: model: a U-Net needs at least two levels",
    ),
    "a key given twice": (
        UNET + UNET,
        'recipe.yaml:2:1: not valid YAML: found duplicate key "model"',
    ),
    "a list that does not end": ("model: [1,\n", "recipe.yaml:2:1: not valid YAML: expected the node content, but"),
    "a list for a file": ("- model\n", "recipe.yaml: not a mapping; expected `key: value` lines"),
    "an empty file": ("", "recipe.yaml: not a mapping; expected `key: value` lines"),
    "a list for a key": ("? [a, b]\n: 1\n", "a key is a list or a mapping; expected a word or a number"),
    "an unknown key that holds itself": ("loop: &a [*a]\n", "recipe.yaml"),
}


@pytest.mark.parametrize(("text", "message"), LOCATED.values(), ids=LOCATED)
def test_a_fault_names_file_line_column_and_key(tmp_path, text, message):
    assert fault(tmp_path, text).startswith(message)


def test_a_file_that_is_missing_or_no_text_is_named_without_its_folder(tmp_path):
    (tmp_path / "scan.yaml").write_bytes(b"\xff\xfe\x00\x81")
    for name in ("absent.yaml", "scan.yaml"):
        with pytest.raises(FileReadError, match=f"^{name}: "):
            read_yaml(tmp_path / name)


def test_an_override_goes_over_the_file(tmp_path):
    recipe = read(tmp_path, UNET + "training: {steps: 5, rate: 0.1}\n", "training.steps=7", "training.rate=1e-5")
    assert (recipe.training.steps, recipe.training.rate) == (7, 1e-5)


def test_an_override_may_set_null_lists_groups_and_keys_that_the_file_lacks(tmp_path):
    overrides = ("training.rate=", "training.spacing_mm=[2, 2, 5]", "model={name: unetr}", "model.heads=8")
    recipe = read(tmp_path, UNET, *overrides)
    assert recipe.model == Unetr(name="unetr", heads=8)
    assert recipe.training == Training(rate=None, spacing_mm=(2, 2, 5))


OVERRIDES = {
    "training.stpes=3": "override training.stpes: training.stpes: unknown key (did you mean 'steps'?)",
    "training.steps=many": "override training.steps: training.steps: wrong value; expected a valid integer",
    "model={name: unetr, heds: 3}": "override model: model.heds: unknown key (did you mean 'heads'?)",
    "model.name=unett": "override model.name: model.name: unknown name (did you mean 'unet'?)",
    "training.steps=[1": "override training.steps=[1: the value is not valid YAML",
    "stages.0.steps=3": "override stages.0.steps=3: 'stages' is no group of keys; got a list. "
    "Give its whole value: stages=...",
    "training.steps": "training.steps: an override is not of the form key=value",
    "=3": "=3: an override is not of the form key=value",
    "training..steps=3": "training..steps=3: an override is not of the form key=value",
}


@pytest.mark.parametrize(("override", "message"), OVERRIDES.items(), ids=OVERRIDES)
def test_a_wrong_override_is_named_as_given(tmp_path, override, message):
    assert fault(tmp_path, UNET + "stages: [{steps: 1}]\n", override).startswith(message)


def test_an_override_through_a_plain_value_is_refused_rather_than_replacing_it(tmp_path):
    message = fault(tmp_path, UNET + "training: {steps: 5}\n", "training.steps.first=3")
    assert "'steps' is no group of keys; got 5. Give its whole value: training.steps=..." in message


def test_settings_that_come_from_no_file_are_named_by_their_source():
    with pytest.raises(ConfigError, match=r"^checkpoint: training.stpes: unknown key \(did you mean 'steps'\?\)"):
        build_config(Recipe, {"model": {"name": "unet"}, "training": {"stpes": 1}}, source="checkpoint")


def test_a_config_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Training().steps = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_a_long_value_is_cut_in_the_message(tmp_path):
    message = fault(tmp_path, UNET + "training: {steps: " + "x" * 500 + "}\n")
    assert len(message) < 200


ROUND_TRIPS = [
    Recipe(model=Unet()),
    Recipe(model=Unetr(name="unetr", heads=2), extra=Training(rate=None)),
    Recipe(model=Unet(), stages=(Training(steps=1), Training(rate=1e-30)), sites={"yes": Unetr(name="unetr")}),
]


@pytest.mark.parametrize("recipe", ROUND_TRIPS)
def test_a_written_config_is_read_back_equal(tmp_path, recipe):
    write_config(tmp_path / "recipe.yaml", recipe)
    assert read_config(tmp_path / "recipe.yaml", Recipe) == recipe


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.floats(allow_nan=False), WORDS)
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3))


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(WORDS, TREES, max_size=4))
def test_any_plain_data_survive_yaml(tree):
    assert YAML(typ="safe", pure=True).load(dump_yaml(tree)) == tree


def test_a_group_that_an_override_misspelt_or_broke_is_blamed_on_the_override(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("model: {name: unet}\n")

    with pytest.raises(ConfigError, match=r"^override trainin\.steps: trainin: unknown key \(did you mean 'training'"):
        read_config(path, Recipe, ["trainin.steps=3"])
    with pytest.raises(ConfigError, match=r"^override model\.channels: .*at least two levels"):
        read_config(path, Recipe, ["model.channels=[8]"])


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1, 1, 1, 1]\n" + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 12)}]\n" for a, b in pairwise("abcdefgh")),
        "a: " + "[" * 500 + "]" * 500 + "\n",
        "[[1]]: 2\n",
    ],
    ids=["aliases of aliases", "very deep", "a list as a key"],
)  # fmt: skip
def test_hostile_yaml_is_refused_before_it_grows(tmp_path: Path, text: str) -> None:
    (tmp_path / "bomb.yaml").write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=r"bomb\.yaml"):
        read_yaml(tmp_path / "bomb.yaml")


def test_an_alias_stands_for_its_value(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: &steps [1, 2]\nb: *steps\n", encoding="utf-8")

    assert read_yaml(tmp_path / "a.yaml")["b"] == [1, 2]
