"""What stands under `transforms:` in a recipe, and the steps that it means."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pydantic import field_validator

from medseg.config import Config
from medseg.transforms.flip import FlipConfig
from medseg.transforms.presets import PRESETS, PresetName
from medseg.transforms.registry import AnyStep, StepConfig
from medseg.transforms.rot90 import TransposeConfig
from medseg.transforms.spatial import AffineConfig, ElasticConfig
from medseg.transforms.window import WindowConfig

HU_FILLS = {"outside_hu": -1024.0, "zero": -1000.0}  # defaults that mean air, which the window maps to another number
FORMER_NAMES = {"default": "ct_default"}  # recipes and runs of before there were several presets


class TransformsConfig(Config):
    """What stands under `transforms:` in a recipe.

    Args:
        preset: a whole set of steps (`presets.PRESETS`); `none` starts from nothing. `default` is read as `ct_default`.
        steps: with `none`, the steps in the order in which they run; else changes to the set: a step of the same name
            takes the place of the set's own, of all of them if it has several (`probability: 0` switches them off);
            one that the set lacks runs just before the window.
    """

    preset: PresetName = "ct_default"
    steps: tuple[StepConfig, ...] = ()

    @field_validator("preset", mode="before")
    @classmethod
    def _present_name(cls, name: Any) -> Any:
        return FORMER_NAMES.get(name, name) if isinstance(name, str) else name

    def model_post_init(self, context: Any) -> None:
        own = Counter(step.name for step in self.steps)
        if self.preset != "none" and max(own.values(), default=1) > 1:
            raise ValueError(f"every name once when preset is {self.preset} (use preset: none for several)")
        check_order(self.complete())

    def complete(self) -> tuple[AnyStep, ...]:
        """All steps in the order in which they run; steps that work inside a window know that of the window step, if
        the recipe gives it one."""
        steps = self.steps if self.preset == "none" else _changed(PRESETS[self.preset].steps, self.steps)
        windows = [step for step in steps if isinstance(step, WindowConfig) and "window_hu" in step.model_fields_set]
        return with_window(steps, windows[0].window_hu) if windows else steps

    def at_inference(self) -> TransformsConfig:
        """The part that is no augmentation: the window, its ends at rest."""
        windows = [step for step in self.complete() if isinstance(step, WindowConfig)]
        return TransformsConfig(
            preset="none", steps=tuple(step.model_copy(update={"jitter_hu": 0.0}) for step in windows)
        )


def with_window(steps: tuple[AnyStep, ...], window_hu: tuple[float, float]) -> tuple[AnyStep, ...]:
    """The steps, those that work inside a window and were given none (contrast, gamma) with this one."""
    return tuple(
        step.model_copy(update={"window_hu": window_hu}) if getattr(step, "window_hu", 0) is None else step
        for step in steps
    )


def check_order(steps: tuple[AnyStep, ...]) -> None:
    """Whether every step meets the numbers that it is made for.

    Raises:
        ValueError: there are two windows, a step that works in HU follows the window, or one that fills with HU does.
    """
    places = [place for place, step in enumerate(steps) if isinstance(step, WindowConfig)]
    if len(places) > 1:
        raise ValueError("one window step at most")
    for step in steps[places[0] + 1 :] if places else ():
        for key, air in HU_FILLS.items():
            if getattr(step, key, None) == air:
                raise ValueError(f"{step.name} before the window step, or with another {key} than {air:g}, such as 0")
        resamples = isinstance(step, AffineConfig | ElasticConfig)
        if not resamples and getattr(step, "works_in", "hu") == "hu":
            raise ValueError(f"{step.name} before the window step, because it works in HU")


def without_left_right_flips(steps: tuple[AnyStep, ...], left_right_axis: int = 0) -> tuple[AnyStep, ...]:
    """The steps, none of which makes left look like right: for classes that name a side without a mirror pair.

    A flip keeps its other axes, but for one that names classes by chirality, to which every mirror image is another
    body; that and such an exchange of axes no longer act.
    """
    return tuple(_without_left_right(step, left_right_axis) for step in steps)


def _without_left_right(step: AnyStep, axis: int) -> AnyStep:
    if not isinstance(step, FlipConfig | TransposeConfig):
        return step
    if step.swap == "chirality":
        return step.model_copy(update={"probability": 0.0})
    if isinstance(step, TransposeConfig) or axis not in step.axes:  # by side, the left/right axis does not move
        return step
    others = tuple(other for other in step.axes if other != axis)
    return step.model_copy(update={"axes": others} if others else {"probability": 0.0})


def _changed(preset: tuple[AnyStep, ...], own: tuple[AnyStep, ...]) -> tuple[AnyStep, ...]:
    """The preset with own steps in the place of the first of the same name, and the rest of them before the window."""
    by_name = {step.name: step for step in own}
    names = [step.name for step in preset]
    kept = [
        by_name.get(step.name, step)
        for place, step in enumerate(preset)
        if step.name not in by_name or step.name not in names[:place]
    ]
    before = next((place for place, step in enumerate(kept) if isinstance(step, WindowConfig)), len(kept))
    return (*kept[:before], *(step for step in own if step.name not in names), *kept[before:])
