"""Recipes: errors that name file, line and key; every recipe of the project loads and builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from medseg.errors import ConfigError
from medseg.models.unet import UNetConfig
from medseg.preprocessing.plan import Plan, PreprocessingConfig
from medseg.transforms.intensity import ContrastConfig
from medseg.transforms.presets import PRESETS
from medseg.transforms.steps import TransformsConfig
from medseg.transforms.window import WindowConfig
from medseg.workflows.recipe import Recipe, read_recipe, training_transforms

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
PLAN = Plan(patch=(16, 16, 16), spacing_mm=(1, 1, 1), window_hu=(-100, 200), mean_hu=50, std_hu=25,
            preprocessing=PreprocessingConfig())  # fmt: skip


def written(folder: Path, text: str) -> Path:
    path = folder / "my.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text, expected",
    [
        ("data: d\ntrainning:\n  steps: 5\n", r"my\.yaml:2.*trainning: unknown key \(did you mean 'training'\?\)"),
        ("data: d\ntraining:\n  stepps: 5\n", r"my\.yaml:3.*training\.stepps: unknown key \(did you mean 'steps'\?\)"),
        ("data: d\ntraining:\n  steps: many\n", r"my\.yaml:3.*training\.steps.*got 'many'"),
        ("data: d\ntraining:\n  steps: 0\n", r"my\.yaml:3.*training\.steps.*greater than 0"),
        ("data: d\nmodel: {name: unnet}\n", r"my\.yaml:2.*model\.name: unknown name.*unet, unetr"),
        ("data: d\nraters: all\n", r"my\.yaml:2.*raters.*'random', 'majority' or 'soft'"),
        ("data: d\nplan: {patch: [8, 8]}\n", r"my\.yaml:2.*plan\.patch"),
        ("data: d\nfolds: {fold: some}\n", r"my\.yaml:2.*folds\.fold"),
        ("training: {steps: 5}\n", r"data: missing"),
        ("data: d\ntransforms: {preset: ct_defualt}\n", r"my\.yaml:2.*transforms\.preset.*'nnunet'"),
        (
            "data: d\ntransforms:\n  steps:\n    - {name: affin}\n",
            r"my\.yaml:4.*transforms\.steps\.0\.name: unknown name \(did you mean 'affine'\?\)",
        ),
        (
            "data: d\ntransforms:\n  steps:\n    - {name: flip, probability: 1.5}\n",
            r"my\.yaml:4.*transforms\.steps\.0\.probability.*less than or equal to 1, got 1\.5",
        ),
        (
            "data: d\ntransforms:\n  steps:\n    - {name: noise, probability: -0.1}\n",
            r"my\.yaml:4.*transforms\.steps\.0\.probability.*greater than or equal to 0, got -0\.1",
        ),
        (
            "data: d\ntransforms: {preset: none, steps: [{name: window}, {name: noise}]}\n",
            r"my\.yaml:2.*transforms: noise before the window step, because it works in HU",
        ),
        ("data: d\ntraining: {augment_on: gpu}\n", r"my\.yaml:2.*training\.augment_on.*'loader' or 'device'"),
    ],
)
def test_a_fault_is_named_with_file_line_and_key(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        read_recipe(written(tmp_path, text))


def test_overrides_go_through_the_same_checks(tmp_path: Path) -> None:
    path = written(tmp_path, "data: d\n")

    assert read_recipe(path, ["training.steps=7", "model={name: unetr}"]).training.steps == 7
    with pytest.raises(ConfigError, match=r"unknown key \(did you mean 'steps'\?\)"):
        read_recipe(path, ["training.stepps=7"])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_is_shorter_than_sixty_lines_and_loads(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60
    assert isinstance(read_recipe(path), Recipe)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_model_of_every_recipe_answers_on_its_patch_grid(path: Path) -> None:
    config: Any = read_recipe(path).model
    if isinstance(config, UNetConfig):
        small = config.model_copy(update={"channels": tuple(max(4, n // 16) for n in config.channels)})
    else:
        small = config.model_copy(update={"hidden": 2 * config.heads, "mlp": 32, "features": 4})
    x, y, z = small.downsampling
    patch = (2 * x, 2 * y, 2 * z)

    logits = small.build(1, 3, patch).eval()(torch.zeros(1, 1, *patch))

    assert logits.shape == (1, 3, *patch)


def test_the_recipes_cover_both_architectures() -> None:
    assert {read_recipe(path).model.name for path in CONFIGS} == {"unet", "unetr"}


def transforms(*steps: Any, preset: Any = "none") -> TransformsConfig:
    return training_transforms(Recipe(data="d", transforms=TransformsConfig(preset=preset, steps=steps)), PLAN)


def test_augmentation_ends_in_the_plans_normalisation() -> None:
    window = transforms().steps[-1]

    assert isinstance(window, WindowConfig)
    assert (window.window_hu, window.output) == ((-100, 200), (-6, 6))  # (-100 - 50) / 25 and (200 - 50) / 25
    assert window.jitter_hu == 0


def test_the_recipe_may_shake_the_ends_of_the_window() -> None:
    window = transforms(WindowConfig(jitter_hu=15, probability=0.4)).steps[-1]

    assert isinstance(window, WindowConfig)
    assert (window.window_hu, window.jitter_hu, window.probability) == ((-100, 200), 15, 0.4)


def test_steps_that_work_inside_a_window_learn_the_plans(tmp_path: Path) -> None:
    (contrast, _) = transforms(ContrastConfig()).steps

    assert isinstance(contrast, ContrastConfig)
    assert contrast.window_hu == (-100, 200)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_keeps_its_order_with_the_plans_window_in_its_place(preset: str) -> None:
    steps = transforms(preset=preset).complete()
    names, own = [step.name for step in steps], [step.name for step in PRESETS[preset].steps]

    assert names == (own if own else ["window"])
    assert steps[names.index("window")].output == (-6, 6)


def test_contrast_of_a_preset_learns_the_plans_window() -> None:
    assert {step.window_hu for step in transforms(preset="ct_default").steps if step.name in ("contrast", "gamma")} == {
        (-100, 200)
    }


def test_a_window_step_that_contradicts_the_plan_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"another window than the plan.*plan\.window_hu"):
        transforms(WindowConfig(window_hu=(0, 80)))
