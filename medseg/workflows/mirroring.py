"""Which mirrored views a trained network may be asked about."""

from __future__ import annotations

from medseg.errors import ConfigError
from medseg.imaging.labels import LabelSet
from medseg.shapes import LEFT_RIGHT_AXIS
from medseg.transforms.flip import FlipConfig
from medseg.transforms.sides import SwapRule, mirror_advice
from medseg.workflows.recipe import Recipe

AXES = ("0 (left/right)", "1 (back/front)", "2 (down/up)")


def check_mirroring(recipe: Recipe, labels: LabelSet) -> None:
    """Refuses `inference.mirror_axes` that training never flipped, and left/right where sides have no declared pair.

    A network that never saw a flipped patient answers anything to one.

    Raises:
        ConfigError: says which axes may be named, or which pairs to declare.
    """
    wanted = set(recipe.inference.mirror_axes)
    learned = learned_axes(recipe)
    if unknown := sorted(wanted - learned):
        raise ConfigError("views mirrored along axes that training never flips", where="inference.mirror_axes",
                          expected=", ".join(AXES[axis] for axis in sorted(learned)) or "none, for there is no flip",
                          got=", ".join(AXES[axis] for axis in unknown),
                          do="Leave them out, or add them to the flip step of `transforms` and train.")  # fmt: skip
    sentence = mirror_advice(labels.names, labels.mirror_indices).sentence
    if LEFT_RIGHT_AXIS in wanted and sentence:
        raise ConfigError("left and right cannot be averaged", where="inference.mirror_axes", got=sentence.rstrip("."),
                          do="Declare the pairs in dataset.yaml, or leave axis 0 out.")  # fmt: skip


def learned_axes(recipe: Recipe) -> set[int]:
    """The axes that training flips."""
    return {axis for step in _flips(recipe) for axis in step.axes}


def swap_rule(recipe: Recipe) -> SwapRule:
    """When left and right classes changed names in training."""
    rules: list[SwapRule] = [step.swap for step in _flips(recipe)]
    return rules[0] if rules else "side"


def _flips(recipe: Recipe) -> list[FlipConfig]:
    return [step for step in recipe.transforms.complete() if isinstance(step, FlipConfig) and step.probability > 0]
