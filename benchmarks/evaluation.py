"""How fast and how frugal medseg scores a case with several readers, beside the tools that people use today.

    python benchmarks/evaluation.py             # 512 x 512 x 250 voxels, 5 organs, 4 readers and a model: half an hour
    python benchmarks/evaluation.py --quick     # about 192 x 192 x 72 voxels, a minute, the same targets
    python benchmarks/evaluation.py --json      # one JSON object a line: name, ours, peer, ratio, target, met
    python benchmarks/evaluation.py --markdown  # the table of docs/results.md

Both sides run in one process, in turns; seconds are medians. `ratio` is peer / ours and `target` the least that counts
as met. Ours is always the whole case: ten pairs, five organs, every metric of `METRICS` in the peer's own definition of
a surface. Peers work pair by pair, with nothing that one pair could leave to the next, so the slow ones are timed on
one pair and the time is multiplied. Every row compares the numbers of both sides, and numbers that differ do
not meet the target. The exit code is 1 only when our own side failed.

surface-distance and nnU-Net come with the extra `bench`. panoptica, which pins other versions than ours, runs in an
environment of its own that the full form makes in a temporary folder; `--quick` leaves that row out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from itertools import combinations
from pathlib import Path
from typing import Any

import evaluation_inputs as inputs
import evaluation_peers as peers
import evaluation_scaling as scaling
import numpy as np
from evaluation_panoptica import Elsewhere
from io_rows import FAILURES, HEADER, Comparison, Effort, Row, measure

from medseg.evaluation.domain import Domain
from medseg.evaluation.overlap_matrix import dice_matrices
from medseg.evaluation.scoring import PairScore, score_case
from medseg.evaluation.staple import staple_map
from medseg.evaluation.statistics import mean_intervals
from medseg.evaluation.surface_rules import DEFAULT_TOLERANCE_MM, PARITY
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap
from medseg.shapes import BoolArray, IntTriple

PEERS = ("surface-distance", "monai", "SimpleITK", "nnunetv2", "numpy", "scipy")
SCORES_CLOSE = 1e-3  # some peers compute in single precision
# Four digits of sensitivity and specificity. Where the estimate settles slowly (338 steps in one organ here) ITK stops
# a little early, and the probability of a pattern that hangs in the balance is up to 0.012 short of where it settles.
STAPLE_CLOSE, MAP_CLOSE = 1e-4, 2e-2
MEMORY, LIMIT_MB = "peak_memory", 1000.0
FULL_SHAPE, QUICK_SHAPE = (512, 512, 250), (192, 192, 72)
Pair = tuple[str, str]
Place = tuple[str, str, str]  # two readers and an organ


@dataclass(frozen=True)
class Study:
    """One case by several readers; drawn when a row first asks for it."""

    shape: IntTriple

    @cached_property
    def readings(self) -> dict[str, LabelMap]:
        return inputs.readings(inputs.NAMES, self.shape)

    @property
    def pairs(self) -> list[Pair]:
        return list(combinations(inputs.NAMES, 2))

    def mask(self, name: str, label: str) -> BoolArray:
        return self.readings[name].mask(label)


# ---- what agrees with what


def same_scores(ours: Sequence[PairScore], theirs: Mapping[Place, peers.Numbers]) -> str:
    """How the scores of the pairs and labels that the peer has differ; "" when they agree."""
    known = {(score.a, score.b, score.label): score.values for score in ours}
    worst = max(
        (abs(known[place][key] - value), f"{key} of {' '.join(place)}")
        for place, numbers in theirs.items()
        for key, value in numbers.items()
    )
    return f"{worst[1]} differs by {worst[0]:.2g}" if worst[0] > SCORES_CLOSE else ""


def same_numbers(ours: Any, theirs: Any, *, within: float) -> str:
    """How two arrays differ; "" when they agree."""
    most = float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())
    return f"values differ by up to {most:.2g}" if most > within else ""


# ---- the rows


def pair_by_pair(study: Study, rule: str, peer: Callable[..., peers.Numbers], pairs: int) -> Comparison:
    """All pairs at once against a peer that is given masks of one organ, pair by pair."""
    wanted = study.pairs[:pairs]

    def theirs() -> dict[Place, peers.Numbers]:
        return {
            (a, b, label): peer(study.mask(a, label), study.mask(b, label), inputs.SPACING_MM, DEFAULT_TOLERANCE_MM)
            for a, b in wanted
            for label in inputs.LABELS.foreground
        }

    return Comparison(lambda: score_case(study.readings, rule=PARITY[rule]), theirs, same_scores)


def dice_against_nnunet(study: Study) -> Comparison:
    """The Dice matrix of all pairs against nnU-Net's evaluator, both on label maps in memory."""
    labels = list(inputs.LABELS.values.values())[1:]
    arrays: dict[str, Any] = {name: reading.labels for name, reading in study.readings.items()}
    places = [(inputs.NAMES.index(a), inputs.NAMES.index(b)) for a, b in study.pairs]
    return Comparison(
        lambda: dice_matrices(study.readings),
        lambda: [peers.nnunet_dice(arrays, a, b, labels) for a, b in study.pairs],
        lambda ours, theirs: same_numbers(
            [[ours[label][place] for label in inputs.LABELS.foreground] for place in places], theirs, within=1e-9
        ),
    )


def staple_against_simpleitk(study: Study) -> Comparison:
    """STAPLE of four readers, every organ, on the whole image: sensitivities, specificities and the probabilities."""
    readers = inputs.NAMES[:4]

    def ours() -> list[Any]:
        found = []
        for label in inputs.LABELS.foreground:
            masks = [study.mask(name, label) for name in readers]
            probability, _, numbers = staple_map(masks, spacing_mm=inputs.SPACING_MM, domain=Domain(None))
            found.append((probability, numbers.sensitivity, numbers.specificity))
        return found

    def theirs() -> list[Any]:
        return [peers.simpleitk_staple([study.mask(name, label) for name in readers])
                for label in inputs.LABELS.foreground]  # fmt: skip

    def difference(one: list[Any], other: list[Any]) -> str:
        close = (MAP_CLOSE, STAPLE_CLOSE, STAPLE_CLOSE)
        told = [
            same_numbers(a, b, within=within)
            for pair in zip(one, other, strict=True)
            for a, b, within in zip(*pair, close, strict=True)
        ]
        return next(filter(None, told), "")

    return Comparison(ours, theirs, difference)


def linear_in_models(study: Study) -> Comparison:
    """Four models beside four readers against four times one model."""
    models = {f"M{k}": study.readings["M"] for k in range(4)}
    readers = {name: study.readings[name] for name in inputs.NAMES[:4]}

    def scored(names: Sequence[str]) -> list[PairScore]:
        chosen = readers | {name: models[name] for name in names}
        return score_case(chosen, pairs=[(a, b) for b in names for a in readers])

    return Comparison(
        lambda: scored(list(models)),
        lambda: scored(["M0"]),
        lambda ours, theirs: "" if [s for s in ours if s.b == "M0"] == theirs else "a model changed another's scores",
    )


def linear_in_pairs(study: Study) -> Comparison:
    """Eight readers, who make 28 pairs, against 28 / 6 times four readers, who make six."""
    readers = {f"R{k}": study.readings[inputs.NAMES[k % 4]] for k in range(8)}
    four = dict(list(readers.items())[:4])
    return Comparison(
        lambda: score_case(readers),
        lambda: score_case(four),
        lambda ours, theirs: "" if [s for s in ours if {s.a, s.b} <= set(four)] == theirs else "pairs differ",
    )


def bootstrap(_: Study) -> Comparison:
    """10,000 draws for 500 cases x 10 labels x 6 metrics against the five seconds that were promised."""
    values = np.random.default_rng(0).normal(0.0, 0.05, (500, 60))
    return Comparison(
        lambda: mean_intervals(values),
        lambda: None,
        lambda ours, _: "" if all(interval.ci95 for interval in ours) else "an interval is missing",
    )


@dataclass(frozen=True)
class Target:
    """A promise: a name, the least ratio peer / ours, how to build its comparison, the factor of the peer's time; and
    the size in the quick form where it is another than that of the other rows."""

    name: str
    least: float
    build: Callable[[Study], Comparison]
    factor: float = 1.0
    quick_shape: IntTriple = QUICK_SHAPE


def against(name: str, least: float, rule: str, peer: Callable[..., peers.Numbers], pairs: int) -> Target:
    return Target(name, least, partial(pair_by_pair, rule=rule, peer=peer, pairs=pairs), 10 / pairs)


TARGETS = (
    replace(
        against("pairs_vs_surface_distance", 8, "deepmind", peers.surface_distance_pair, 2), quick_shape=(352, 352, 144)
    ),
    replace(against("pairs_vs_monai", 20, "monai", peers.monai_pair, 1), quick_shape=(224, 224, 84)),
    against("pairs_vs_simpleitk", 20, "monai", peers.simpleitk_pair, 1),
    Target("dice_matrix_vs_nnunet", 10, dice_against_nnunet),
    Target("staple_vs_simpleitk", 10, staple_against_simpleitk, quick_shape=(128, 128, 48)),
    Target("linear_in_models", 0.8, linear_in_models, 4.0),
    Target("linear_in_pairs", 0.8, linear_in_pairs, 28 / 6),
)
PANOPTICA, PANOPTICA_LEAST = "pairs_vs_panoptica", 6.0
BOOTSTRAP, BOOTSTRAP_S = "bootstrap_under_5_s", 5.0


def measure_bootstrap(study: Study, effort: Effort) -> Row:
    """Our seconds against the promise; nobody else is timed."""
    row = measure(BOOTSTRAP, 1.0, partial(bootstrap, study), effort)
    return replace(row, peer=BOOTSTRAP_S)


def measure_panoptica(study: Study, effort: Effort) -> Row:
    """All pairs at once against ten times panoptica on one pair, in its own environment; for both on a grid of 1 mm."""
    grid = Geometry(study.shape, np.eye(4))
    readings = {name: LabelMap(reading.labels, grid, inputs.LABELS) for name, reading in study.readings.items()}
    masks = {f"{side}/{label}": study.mask(side, label) for side in "AB" for label in inputs.LABELS.foreground}

    def difference(ours: Sequence[PairScore], theirs: Mapping[str, peers.Numbers]) -> str:
        return same_scores(ours, {("A", "B", label): numbers for label, numbers in theirs.items()})

    try:
        with Elsewhere(masks, (1.0, 1.0, 1.0), DEFAULT_TOLERANCE_MM) as peer:
            comparison = Comparison(
                lambda: score_case(readings, rule=PARITY["monai"]), peer, difference
            )  # border voxels
            row = measure(PANOPTICA, PANOPTICA_LEAST, lambda: comparison, effort)
    except (OSError, subprocess.SubprocessError) as error:
        return Row(PANOPTICA, PANOPTICA_LEAST, reason=f"panoptica cannot be installed: {type(error).__name__}")
    return replace(row, peer=row.peer and row.peer * 10)


def measure_memory(shape: IntTriple) -> Row:
    """Peak MB of scoring the case in a fresh process beyond the label volumes, against the limit of 1 GB."""
    script = Path(__file__).with_name("evaluation_memory.py")
    try:
        command = [sys.executable, str(script), *map(str, shape)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=900)
        found = json.loads(done.stdout)
    except FAILURES as error:
        return Row(MEMORY, 1.0, unit="MB", reason=f"medseg failed: {type(error).__name__}", failed=True)
    return Row(MEMORY, 1.0, found["above"], LIMIT_MB, unit="MB")


def rows(study: Study, names: set[str], effort: Effort, *, quick: bool) -> Iterator[Row]:
    """Every row, or those named; panoptica is not for the quick form unless it is named."""
    for target in TARGETS:
        if not names or target.name in names:
            own = Study(target.quick_shape) if quick and target.quick_shape != study.shape else study
            row = measure(target.name, target.least, partial(target.build, own), effort)
            yield replace(row, peer=None if row.peer is None else row.peer * target.factor)
    if PANOPTICA in names or not (names or quick):
        yield measure_panoptica(study, effort)
    if not names or BOOTSTRAP in names:
        yield measure_bootstrap(study, effort)
    if not names or MEMORY in names:
        yield measure_memory(study.shape)
    yield from scaling.rows(names, effort, quick=quick)


def setting(shape: IntTriple) -> str:
    """What the figures depend on, in one line."""

    def found(name: str) -> str:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            return f"no {name}"

    size = " x ".join(map(str, shape))
    return f"{size} voxels, {len(inputs.ORGANS)} organs, 10 pairs; {', '.join(map(found, PEERS))}"


MARKDOWN_HEADER = "| row | ours | peer | ratio | asked for | |\n|---|---|---|---|---|---|"


def as_markdown(row: Row) -> str:
    """A line of the table."""
    shown = ["–" if value is None else f"{value:.3g}" for value in (row.ours, row.peer, row.ratio, row.target)]
    units = [f"{text} {row.unit}" if text != "–" else text for text in shown[:2]]
    verdict = "met" if row.met else f"**not met** {row.reason}".rstrip()
    return " | ".join(("| " + row.name.replace("_", " "), *units, *shown[2:], verdict)) + " |"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    known = [*(target.name for target in TARGETS), PANOPTICA, BOOTSTRAP, MEMORY, *scaling.LEAST]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="192 x 192 x 72 voxels or a little more, fewer runs")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line on stdout, all else on stderr")
    form.add_argument("--markdown", action="store_true", help="a table on stdout, all else on stderr")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", choices=known, help="these rows alone")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    shape: IntTriple = QUICK_SHAPE if options.quick else FULL_SHAPE
    effort = Effort(runs=1, least_s=0.2, most_s=1) if options.quick else Effort(3, 3, 60)
    log = sys.stderr if options.json or options.markdown else sys.stdout
    print(setting(shape), HEADER, sep="\n", file=log, flush=True)
    found = []
    for row in rows(Study(shape), set(options.only), effort, quick=options.quick):
        found.append(row)
        print(row.as_text(), file=log, flush=True)
        if options.json:
            print(json.dumps(row.as_json()), flush=True)
    if options.markdown:
        print(setting(shape) + ".", "", MARKDOWN_HEADER, *map(as_markdown, found), sep="\n")
    return int(any(row.failed for row in found))


if __name__ == "__main__":
    sys.exit(main())
