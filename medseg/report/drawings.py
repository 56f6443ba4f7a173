"""The figures of one agreement as SVG, each drawn once: for the page and for the files beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from medseg.report.figures import forest, matrix, scatter, to_svg
from medseg.report.figures_curves import reliability, surface_distance_curves
from medseg.report.figures_map import embedding
from medseg.report.figures_volume import bland_altman, volume_bands
from medseg.report.tables import differences, judged_metric
from medseg.report.wording import finite

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Drawings:
    """Draws when it is asked, and keeps what it drew.

    Args:
        agreement: what `agreement.json` holds.
        pairs, cases: rows of `pairs.csv` and `cases.csv`.
    """

    agreement: Mapping[str, Any]
    pairs: Sequence[Row] = ()
    cases: Sequence[Row] = ()
    _drawn: dict[str, dict[str, str]] = field(default_factory=dict, repr=False, compare=False)

    def forest(self) -> str:
        """D of every structure and model, or nothing without a model."""
        metric = judged_metric(self.agreement)
        if not any(True for _ in differences(self.agreement, metric)):
            return ""
        if "" not in self._drawn:
            self._drawn[""] = {"forest": to_svg(forest(self.agreement, metric), "forest")}
        return self._drawn[""]["forest"]

    def of_label(self, label: str) -> dict[str, str]:
        """By name the figures of one structure for which there are numbers."""
        if label not in self._drawn:
            place = list(self.agreement["labels"]).index(label)
            found = self._from_rows(label) | self._from_blocks(label)
            self._drawn[label] = {name: to_svg(figure, f"{name}-{place}") for name, figure in found.items()}
        return self._drawn[label]

    def files(self) -> dict[str, str]:
        """File stem and SVG of every figure."""
        found = {"forest": svg} if (svg := self.forest()) else {}
        for label in self.agreement["labels"]:
            safe = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in label)
            found |= {f"{name.replace('-', '_')}_{safe}": svg for name, svg in self.of_label(label).items()}
        return found

    def _from_rows(self, label: str) -> dict[str, Figure]:
        """Matrix, scatter and volumes; a name that stands for several people has no cell in a matrix."""
        agreement, metric, models = self.agreement, judged_metric(self.agreement), self.agreement["design"]["models"]
        mine = [row for row in self.pairs if row["label"] == label]
        drawn: dict[str, Figure] = {}
        if mine and not agreement["design"].get("anonymous"):
            drawn["matrix"] = matrix(mine, label, metric, models=models)
        if models and any(row["label"] == label and row["metric"] == metric for row in self.cases):
            margins = {finite(entry.get("margin")) for name, _, entry in differences(agreement, metric)
                       if name == label}  # fmt: skip
            drawn["scatter"] = scatter(self.cases, label, metric, margin=margins.pop() if len(margins) == 1 else None)
        if any(finite(row.get("volume_a_ml")) is not None for row in mine):
            drawn["volumes"] = bland_altman(mine, label, models=models, bands=volume_bands(agreement, label))
        return drawn

    def _from_blocks(self, label: str) -> dict[str, Figure]:
        """The plane, NSD at every tolerance and the reliability diagram."""
        entry, models = self.agreement["labels"][label], self.agreement["design"]["models"]
        drawn: dict[str, Figure] = {}
        if entry.get("embedding") and not self.agreement["design"].get("anonymous"):
            drawn["embedding"] = embedding(entry["embedding"], label, models=models)
        curves = {model: found["surface_curves"] for model, found in entry.get("models", {}).items()
                  if found.get("surface_curves")}  # fmt: skip
        curves = curves or ({"readers": entry["surface_curves"]} if entry.get("surface_curves") else {})
        if any(block["n_cases"] for block in curves.values()):
            stated = (self.agreement.get("config", {}).get("tolerance_mm") or {}).get(label)
            drawn["surface-distance"] = surface_distance_curves(curves, label, tolerance_mm=finite(stated))
        bins = {model: found["reliability"] for model, found in entry.get("models", {}).items()
                if found.get("reliability")}  # fmt: skip
        if bins:
            drawn["reliability"] = reliability(bins, label)
        return drawn
