"""A recipe as flat settings that may be shown: dotted keys, values in words, no folder of the hospital."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

PATHS = ("data", "plan.file", "init", "cascade", "folds.file")  # only the last part of these is shown
UNTOLD = ("tracking",)  # how a run is watched says nothing about it, and an address may hold a password


def shown_settings(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Every setting of a recipe by its dotted key, as text.

    >>> shown_settings({"data": "/clinic/a/dataset.yaml", "training": {"steps": 5, "batch": None}})
    {'data': 'dataset.yaml', 'training.steps': '5', 'training.batch': 'none'}
    """
    return {key: shown(key, value) for key, value in flat_settings(recipe).items()}


def flat_settings(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The plain values of a recipe by dotted key; steps of a list are called by their names.

    >>> flat_settings({"transforms": {"steps": [{"name": "noise", "probability": 0.5}]}})
    {'transforms.steps.noise.name': 'noise', 'transforms.steps.noise.probability': 0.5}
    """
    found: dict[str, Any] = {}
    for key, value in recipe.items():
        name = f"{prefix}{key}"
        if name in UNTOLD:
            continue
        if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            value = dict(zip(_names(value), value, strict=True))
        if isinstance(value, Mapping) and value:
            found |= flat_settings(value, f"{name}.")
        else:
            found[name] = value
    return found


def _names(items: Iterable[Mapping[str, Any]]) -> list[str]:
    """A name for each item of a list: its own, numbered where it is there before."""
    found: list[str] = []
    for item in items:
        name = str(item.get("name", "item"))
        number = 1 + sum(each.partition(" ")[0] == name for each in found)
        found.append(name if number == 1 else f"{name} {number}")
    return found


def shown(key: str, value: Any) -> str:
    """A setting as text; of a path its last part.

    >>> shown("init", "nnunet:/models/liver"), shown("model.strides", [1, 2]), shown("cascade", "/clinic/low-run")
    ('nnunet:liver', '[1, 2]', 'low-run')
    """
    if value is None:
        return "none"
    if isinstance(value, str):
        if key not in PATHS:
            return value
        kind, colon, path = value.rpartition(":") if value.startswith("nnunet:") else ("", "", value)
        return kind + colon + PurePath(path).name
    return json.dumps(value)


def differing_settings(recipes: Sequence[Mapping[str, Any]]) -> tuple[dict[str, str], ...]:
    """For each recipe the settings in which the recipes differ, in one order; a setting that one lacks is `-`.

    Different paths with the same last part are numbered.

    >>> differing_settings([{"data": "a/d.yaml", "raters": "soft"}, {"data": "b/d.yaml", "raters": "soft"}])
    ({'data': 'd.yaml (1)'}, {'data': 'd.yaml (2)'})
    """
    flat = [flat_settings(recipe) for recipe in recipes]
    keys = list(dict.fromkeys(key for each in flat for key in each))
    found: tuple[dict[str, str], ...] = tuple({} for _ in recipes)
    for key in keys:
        texts = [shown(key, each[key]) if key in each else "-" for each in flat]
        exact = [json.dumps(each.get(key)) if key in each else "" for each in flat]
        if len(set(exact)) == 1:
            continue
        kinds = list(dict.fromkeys(exact))
        ambiguous = len(set(texts)) < len(kinds)
        for row, text, raw in zip(found, texts, exact, strict=True):
            row[key] = f"{text} ({kinds.index(raw) + 1})" if ambiguous else text
    return found
