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
from medseg.workflows.recipe import Recipe, learned_alike, read_recipe, training_transforms, with_preferences

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
        ("data: d\nraters: all\n", r"my\.yaml:2.*raters.*'random', 'soft', 'majority'"),
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


@pytest.mark.parametrize(
    "model, optimizer, rate, schedule",
    [
        ("unet", "sgd", 1e-2, "poly"),
        ("resenc-m", "sgd", 1e-2, "poly"),
        ("unetr", "adamw", 1e-4, "cosine"),
        ("swin-unetr", "adamw", 4e-4, "cosine"),
        ("mednext", "adamw", 1e-3, "cosine"),
        ("segresnet", "adamw", 2e-4, "cosine"),
    ],
)
def test_a_network_gets_the_optimiser_that_it_prefers_where_the_recipe_names_none(
    tmp_path: Path, model: str, optimizer: str, rate: float, schedule: str
) -> None:
    recipe = read_recipe(written(tmp_path, f"data: d\nmodel: {{name: {model}}}\ntraining: {{steps: 400}}\n"))

    training = with_preferences(recipe).training

    assert (training.optimizer.name, training.optimizer.learning_rate) == (optimizer, rate)
    assert (training.schedule.name, training.schedule.warmup_steps) == (schedule, 20 if schedule == "cosine" else 0)
    assert training.steps == 400


@pytest.mark.parametrize("named", ["optimizer: {name: adamw}", "schedule: {name: poly}"])
def test_a_recipe_that_names_optimiser_or_schedule_is_left_as_it_is(tmp_path: Path, named: str) -> None:
    recipe = read_recipe(written(tmp_path, f"data: d\ntraining: {{{named}}}\n"))

    assert with_preferences(recipe) == recipe


@pytest.mark.parametrize("name", ["demo", "sts", "unet", "unetr"])
def test_recipes_of_one_network_name_their_optimiser(name: str) -> None:
    recipe = read_recipe(Path(__file__).parents[2] / "configs" / f"{name}.yaml")

    assert with_preferences(recipe) == recipe


def test_a_batch_that_cannot_be_halved_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training.*a batch of 3 cannot be computed in 2 equal parts"):
        read_recipe(written(tmp_path, "data: d\ntraining: {batch: 3, accumulate: 2}\n"))


def test_parts_and_workers_are_how_and_steps_are_what_is_learned() -> None:
    started = Recipe(data="d")
    how = read_recipe_of("training.accumulate=2", "sampling.workers=3", "training.log_every=1")
    what = read_recipe_of("training.steps=7")

    assert learned_alike(how, started) == started
    assert learned_alike(what, started) != started


def read_recipe_of(*overrides: str) -> Recipe:
    data: dict[str, Any] = {"data": "d", "training": {}, "sampling": {}}
    for override in overrides:
        section, key, value = override.replace("=", ".").split(".")
        data[section][key] = int(value)
    return Recipe(**data)
