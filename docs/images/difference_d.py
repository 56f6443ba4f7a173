"""Draws `difference_d.svg`: what D compares, and how its interval becomes a class.

python docs/images/difference_d.py
"""

from itertools import combinations
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

HUMAN, MODEL, MARGIN = "#0072b2", "#d55e00", "#cc79a7"
PLACES = {"A": (0.0, 1.0), "B": (-0.9, -0.5), "C": (0.9, -0.5), "model": (2.7, 0.5)}
CLASSES = {
    "equivalent": (-0.6, 0.5),
    "non-inferior": (-0.4, 1.5),
    "inconclusive": (-1.6, 0.3),
    "inferior": (-2.2, -1.3),
}


def draw_pairs(axes: Axes) -> None:
    """Three experts and a model, and the pairs of either kind."""
    for a, b in combinations(PLACES, 2):
        (x, y), (u, v) = PLACES[a], PLACES[b]
        axes.plot([x, u], [y, v], color=MODEL if "model" in (a, b) else HUMAN, linewidth=2.5, zorder=1)
    for name, (x, y) in PLACES.items():
        colour = MODEL if name == "model" else HUMAN
        axes.text(x, y, name, color="white", ha="center", va="center", weight="bold",
                  bbox={"boxstyle": "round,pad=0.5", "facecolor": colour, "edgecolor": "white"})  # fmt: skip
    axes.text(0, -1.35, "expert with expert:\nmean of these pairs", color=HUMAN, ha="center", va="center")
    axes.text(2.3, -1.35, "model with expert:\nmean of these pairs", color=MODEL, ha="center", va="center")
    axes.set(xlim=(-1.5, 3.4), ylim=(-1.8, 1.6), title="D = orange mean - blue mean, case by case")
    axes.axis("off")


def draw_classes(axes: Axes) -> None:
    """Intervals of D against the margin m."""
    for place, (low, high) in enumerate(CLASSES.values()):
        axes.plot([low, high], [place, place], color="black", linewidth=3, solid_capstyle="butt")
        axes.plot((low + high) / 2, place, "o", color="black")
    for at, text in ((-1, "-m"), (0, "0"), (1, "+m")):
        axes.axvline(at, color=MARGIN if at else "grey", linestyle="--" if at else "-", zorder=0)
        axes.text(at, -0.7, text, ha="center", backgroundcolor="white")
    axes.set_yticks(range(len(CLASSES)), list(CLASSES))
    axes.set(xlim=(-2.5, 2.0), ylim=(len(CLASSES) - 0.5, -0.95), xticks=[], title="95 % interval of mean D, margin m")
    axes.set_xlabel("model agrees less  <   D   >  model agrees more")
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)


def main() -> None:
    """Writes the figure beside this file."""
    mpl.rcParams |= {"svg.hashsalt": "medseg", "svg.fonttype": "none", "font.size": 10}
    figure = Figure(figsize=(9, 3.2), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    draw_pairs(left)
    draw_classes(right)
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
