"""An agreement such as `medseg agree` writes it, made from a few numbers, and slices of drawn circles."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from medseg.report.overlay import Overlay

METRICS = ("dice", "nsd", "hd95")
N_CASES = 24


def _summary(mean: float) -> dict[str, Any]:
    return {"mean": mean, "ci95": [mean - 0.01, mean + 0.01], "median": mean + 0.005, "p5": mean - 0.08, "n": N_CASES}


def _result(metric: str, shift: float) -> dict[str, Any]:
    bounds = [shift - 0.012, shift + 0.011]
    return {
        "mean": shift, "ci95": bounds, "method": "bootstrap-t", "sd": 0.03, "n": N_CASES,
        "margin": 0.05 if metric == "dice" else None,
        "class": "equivalent" if metric == "dice" else "descriptive", "n_for_80pct": None,
    }  # fmt: skip


def _guard(model: float | None, readers: float | None, patients: int) -> dict[str, Any]:
    upper = None if model is None else 0.08
    return {"model": model, "readers": readers, "difference_ci95": None, "upper_bound": upper, "patients": patients}


def _label(models: tuple[str, ...], raters: tuple[str, ...]) -> dict[str, Any]:
    human = {"dice": 0.91, "nsd": 0.9, "hd95": 2.4}
    return {
        "human_human": {metric: _summary(human[metric]) for metric in METRICS},
        "models": {
            model: {
                "model_human": {metric: _summary(human[metric] + 0.01) for metric in METRICS},
                "difference": {metric: _result(metric, 0.01 - 0.02 * place) for metric in METRICS},
                "delineation": {"dice": {"mean": 0.012, "ci95": [-0.001, 0.025], "n": 21}},
                "presence": {
                    "findings": 22,
                    "missed": 1,
                    "absent": 2,
                    "false_positives": 0,
                    "miss_rate": _guard(0.045, 0.03, 22),
                    "false_positive_rate": _guard(None, None, 0),
                    "guard_margin": 0.1,
                    "rule": "a reader is left out",
                },
                "volume": {"bias_ml": -3.2, "sd_ml": 20.0, "limits_ml": [-42.4, 36.0], "n": 66},
                "alt_test": None,
                "williams": {"dice": {"value": 1.01, "ci95": [0.99, 1.03]}},
            }
            for place, model in enumerate(models)
        },
        "leave_one_out": {
            rater: {"dice": {"rater": 0.912, "model": 0.921, "difference": 0.009, "n": 22}} for rater in raters
        },
        "presence": {rater: {"read": 22, "marked": 21, "missed": 1, "false_positives": 2} for rater in raters},
        "truth": {name: {metric: _summary(human[metric]) for metric in METRICS} for name in (*raters, *models)},
        "volume": {"bias_ml": 0.0, "sd_ml": 15.0, "limits_ml": [-29.4, 29.4], "n": 66},
        "consensus": {"staple": None},
        "cases": {"marked": 22, "nobody_marked": 2},
        "kappa": {"fleiss": 0.87, "domain": "union of readers dilated by 10 mm"},
    }


@pytest.fixture(scope="session")
def make_agreement() -> Callable[..., dict[str, Any]]:
    def make(
        labels: tuple[str, ...] = ("liver", "spleen"),
        models: tuple[str, ...] = ("unet",),
        raters: tuple[str, ...] = ("A", "B", "C"),
    ) -> dict[str, Any]:
        return {
            "schema": "medseg.agreement/1",
            "config": {
                "metric": "dice", "surface": "surfel", "percentile_rule": "max of directed percentiles, linear",
                "empty_policy": "diagonal", "domain_mm": 10.0, "tolerance_mm": dict.fromkeys(labels, 2.0),
                "bootstrap": {"draws": 10_000, "seed": 0, "cluster": "patient"},
            },
            "design": {
                "n_cases": N_CASES, "n_patients": N_CASES, "raters": list(raters), "models": list(models),
                "missing": {raters[0]: 2},
            },
            "labels": {label: _label(models, raters) for label in labels},
            "verdict": {
                model: {
                    "class": "equivalent",
                    "sentence": f"On 24 cases {model} agreed with a reader as closely as readers with each other.",
                    "reasons": ["no miss in 22 findings still allows 13 %"],
                }
                for model in models
            },
            "provenance": {"versions": {"medseg": "0.1.0", "numpy": "2.0"}, "input_sha256": "0" * 64},
        }  # fmt: skip

    return make


@pytest.fixture(scope="session")
def make_pairs() -> Callable[..., list[dict[str, Any]]]:
    def make(
        labels: tuple[str, ...] = ("liver", "spleen"),
        models: tuple[str, ...] = ("unet",),
        raters: tuple[str, ...] = ("A", "B", "C"),
    ) -> list[dict[str, Any]]:
        chance = np.random.default_rng(0)
        kinds = [(pair, "human-human") for pair in combinations(raters, 2)]
        kinds += [((model, rater), "model-human") for model in models for rater in raters]
        rows = []
        for case in range(N_CASES):
            volume = float(chance.uniform(900, 1800))
            for label in labels:
                for (a, b), kind in kinds:
                    dice = float(np.clip(chance.normal(0.91, 0.03), 0, 1))
                    sizes = volume * chance.normal(1, 0.03, size=2)
                    rows.append(
                        {
                            "case": f"c{case:03d}",
                            "patient": f"p{case:03d}",
                            "label": label,
                            "a": a,
                            "b": b,
                            "kind": kind,
                        }
                        | {"dice": dice, "iou": dice / (2 - dice), "nsd": dice, "hd95": 2.0, "assd": 0.8}
                        | {"volume_a_ml": float(sizes[0]), "volume_b_ml": float(sizes[1])}
                    )
        return rows

    return make


@pytest.fixture(scope="session")
def make_cases() -> Callable[..., list[dict[str, Any]]]:
    def make(
        labels: tuple[str, ...] = ("liver", "spleen"), models: tuple[str, ...] = ("unet",)
    ) -> list[dict[str, Any]]:
        chance = np.random.default_rng(1)
        rows = []
        for case in range(N_CASES):
            for label in labels:
                human = float(chance.normal(0.91, 0.02))
                for model in models:
                    own = float(chance.normal(0.92, 0.02))
                    rows.append(
                        {"case": f"c{case:03d}", "patient": f"p{case:03d}", "label": label, "model": model}
                        | {"metric": "dice", "human_human": human, "model_human": own, "difference": own - human}
                    )
        return rows

    return make


@pytest.fixture(scope="session")
def make_overlay() -> Callable[..., Overlay]:
    def make(
        case: str = "c003", size: int = 120, *, image: bool = True, names: tuple[str, ...] = ("A", "B", "C", "unet")
    ):
        rows, columns = np.mgrid[:size, :size]
        masks = {
            name: (rows - size / 2 - place) ** 2 + (columns - size / 2) ** 2 < (size / (4 + 0.3 * place)) ** 2
            for place, name in enumerate(names)
        }
        noise = np.random.default_rng(0).normal(0, 20, (size, size))
        hu = 50 + 60 * masks[names[0]] + noise if image else None
        return Overlay(case, "median, Dice 0.91", masks, (1.0, 0.8), hu)

    return make
