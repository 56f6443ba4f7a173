"""How fast and how frugal medseg predicts, beside the bare network, nnU-Net and MONAI with the same weights.

    python benchmarks/inference.py             # 512 x 512 x 256 voxels: about an hour on two cores
    python benchmarks/inference.py --quick     # smaller studies and networks, a minute, a row for each target
    python benchmarks/inference.py --json      # one JSON object a line: name, ours, peer, ratio, target, met
    python benchmarks/inference.py --markdown  # the table of docs/results.md

Both sides run in one process, in turns; seconds are medians. `ratio` is peer / ours and `target` the least that counts
as met. Peak memory is that of a process of its own, read from the operating system. Mirroring is off. Every row
compares the labels of both sides, and labels that differ do not meet the target: for scores at most one voxel in a
million with linear interpolation, the float32 rounding of ties, and one in 100,000 with cubic; for whole predictions
see `same_labels_as_nnunet`, whose ratio is 0.001 / (1 - least Dice). The quick form leaves out the two rows that no
target names: labels of an untrained network, and the memory that KonfAI publishes.

`bare network` is the forward passes over the tiles that our prediction computes, by the network as PyTorch runs it.
medseg runs the same weights faster on a CPU (`medseg.inference.on_cpu`): `whole_vs_our_network` is the stricter
comparison, with the forward passes of that, and promises nothing. nnU-Net and MONAI
compute every tile of the standardised image, as they do; ours leaves out those that hold only air. MONAI takes as many
tiles at a time as are fastest for it, 1 or 4; nnU-Net knows only 1. `same_labels_untrained` is a network with random
weights, whose scores nearly tie everywhere, and nnU-Net made to sum in float32; the full form tells on stderr what its
own float16 sums give. MONAI places its tiles by another rule, so that its labels are other ones near edges: at most two
voxels in a hundred. The exit code is 1 only when our own side failed. nnU-Net comes with the extra `bench`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import inference_inputs as inputs
import inference_peers as peers
import numpy as np
import torch
from io_rows import FAILURES, HEADER, Comparison, Effort, Row, measure, told

from medseg.imaging.geometry import Geometry
from medseg.inference.on_cpu import on_cpu
from medseg.inference.predictor import Predictor
from medseg.inference.slabs import Window
from medseg.inference.sliding_window import InferenceConfig
from medseg.inference.study import StandardisedStudy
from medseg.inference.tiles import Tiling, lay_tiles
from medseg.io.nifti import write_volume
from medseg.preprocessing.restore import find_way, restore
from medseg.preprocessing.standardise import normalise
from medseg.shapes import IntTriple

CLASSES = len(inputs.TISSUES_HU) + 1
SCORES_FULL, SCORES_QUICK = ((273, 273, 250), (512, 512, 250)), ((137, 137, 16), (256, 256, 16))
MEMORY_QUICK = ((137, 137, 24), (256, 256, 24))
FINE_MM = 1.5
TIES = {1: 1e-6, 3: 1e-5}
LIMIT_MB, BUDGET = 150.0, "2G"
THIRD = 3.0
LEAST_DICE = 0.999
OTHER_TILES = 0.02


@dataclass(frozen=True)
class Size:
    """How large everything is."""

    scores: tuple[IntTriple, IntTriple]
    memory: tuple[IntTriple, IntTriple]
    study: IntTriple
    spacing_mm: float
    standard_mm: float
    patch: int
    channels: tuple[int, ...]
    taught: int
    bare: float
    long: IntTriple
    budget_patch: int


FULL = Size(SCORES_FULL, SCORES_FULL, (512, 512, 256), 0.8, 2.56, 64, (16, 32, 64, 64), 1000, 1.10, (512, 512, 800), 64)
QUICK = Size(SCORES_QUICK, MEMORY_QUICK, (192, 192, 96), 1.0, 3.0, 32, (16, 32, 32), 50, 1.20, (512, 512, 48), 64)
KONFAI, KONFAI_STUDY, KONFAI_MB = "memory_vs_konfai_published", (533, 390, 177), 6500.0  # TotalSegmentator's networks
UNTRAINED = "same_labels_untrained"
NOT_QUICK = {KONFAI, UNTRAINED}


# ---- scores to labels


def scores_against_nnunet(size: Size, order: int) -> Comparison:
    """Interpolation and argmax of the same logits."""
    (x, y, z), (a, b, c) = size.scores
    scores = inputs.scores(CLASSES, (z, y, x))
    standard = Geometry((x, y, z), np.diag([FINE_MM] * 3 + [1]))
    fine = (FINE_MM * x / a, FINE_MM * y / b, FINE_MM * z / c)
    target = standard.with_spacing(fine)

    @cache
    def peer() -> peers.NNUNet:
        return peers.NNUNet(CLASSES, (FINE_MM,) * 3, order=order)

    def difference(ours: Any, theirs: Any) -> str:
        share = float((ours.transpose(2, 1, 0) != theirs).mean())
        return f"{share:.2g} of the voxels differ" if share > TIES[order] else ""

    return Comparison(
        lambda: restore(scores.transpose(0, 3, 2, 1), standard, target, order=order),  # type: ignore[arg-type]
        lambda: peer().export(scores, (c, b, a), fine[::-1]),
        difference,
    )


# ---- whole predictions


@dataclass(frozen=True)
class Subject:
    """A study, a network that learned a little, and the same network at nnU-Net."""

    size: Size

    @cached_property
    def peer(self) -> peers.NNUNet:
        size = self.size
        peer = peers.NNUNet(CLASSES, (size.standard_mm,) * 3, (size.patch,) * 3, size.channels)
        peer.take(self.predictor.models[0])
        return peer

    @cached_property
    def volume(self) -> Any:
        return inputs.study(self.size.study, (self.size.spacing_mm,) * 3)

    @cached_property
    def plan(self) -> Any:
        # the whole image, so that the grids of the study and of the network have the same edges, as nnU-Net needs it
        return inputs.plan((self.size.standard_mm,) * 3, (self.size.patch,) * 3, crop=False)

    @cached_property
    def predictor(self) -> Predictor:
        network = peers.our_network(self.size.channels, CLASSES)
        blank = Predictor([network], [self.plan], inputs.labels(CLASSES), InferenceConfig())
        study = blank.standardise(self.volume)
        image, limits = (
            np.asarray(normalise(np.asarray(hu, np.float32), self.plan)) for hu in (study.hu, inputs.TISSUES_HU)
        )
        inputs.taught(network, image, limits, min(32, self.size.patch), self.size.taught)
        return blank

    @cached_property
    def standard(self) -> StandardisedStudy:
        return self.predictor.standardise(self.volume)

    @cached_property
    def image(self) -> Any:
        """The standardised image (X, Y, Z), normalised."""
        return np.ascontiguousarray(normalise(self.standard.hu.astype(np.float32), self.plan))

    @cached_property
    def tiling(self) -> Tiling:
        return lay_tiles(self.standard.geometry.shape, self.plan.patch, 0.5, self.standard.body)

    def inside(self, labels: Any) -> Any:
        """Labels (X, Y, Z) of the part of the study that the standardised grid covers."""
        way = find_way(self.standard.geometry, self.standard.native)
        assert way is not None
        return way.view(labels).transpose(2, 1, 0)

    @cached_property
    def shape(self) -> Any:
        return self.inside(np.empty(self.size.study, bool)).shape

    @cached_property
    def monai_batch(self) -> int:
        return peers.fastest_batch(self.predictor.models[0], self.plan.patch)

    def by_nnunet(self) -> Any:
        return self.peer.export(self.peer.scores(self.image).numpy(), self.shape, (self.size.spacing_mm,) * 3)

    def by_monai(self) -> Any:
        scores = peers.monai_scores(self.predictor.models[0], self.image, self.plan.patch, 0.5, self.monai_batch)
        return peers.monai_labels(scores, self.shape)

    def least_dice(self, ours: Any, theirs: Any) -> float:
        return peers.dice(self.inside(ours), theirs, CLASSES)

    def bare(self, network: torch.nn.Module) -> None:
        """The network over the tiles that are needed, and nothing else."""
        window = Window(self.image, 0.0)
        firsts = [first for _, layer in self.tiling.layers(2) for first in layer]
        with torch.inference_mode():
            for first in firsts:
                network(window.read(first, self.tiling.tile)[None])


def whole(subject: Subject, peer: Callable[[], Any]) -> Comparison:
    """From the standardised image to the labels of the study."""
    subject.standard, subject.image, subject.monai_batch  # noqa: B018 - made before the clock runs

    def difference(ours: Any, theirs: Any) -> str:
        share = float(np.mean(subject.inside(ours) != theirs))
        return f"{share:.2g} of the voxels differ" if share > OTHER_TILES else ""

    return Comparison(lambda: subject.predictor.predict(subject.standard).labels, peer, difference)


def against_bare(subject: Subject, computed: Callable[[torch.nn.Module], torch.nn.Module]) -> Comparison:
    """From the study in HU, standardising included, to its labels against the forward passes alone."""
    subject.tiling, subject.image  # noqa: B018
    network = computed(subject.predictor.models[0])
    return Comparison(
        lambda: subject.predictor(subject.volume), partial(subject.bare, network), lambda ours, theirs: ""
    )


def as_it_is(network: torch.nn.Module) -> torch.nn.Module:
    """PyTorch's own layers."""
    return network


def measure_sameness(name: str, subject: Subject, *, float32: bool) -> Row:
    """The least Dice of a structure with nnU-Net's predictor and export, on request with its sums in float32."""
    try:
        ours = subject.predictor.predict(subject.standard).labels
    except FAILURES as error:
        return Row(name, 1.0, unit="1-D", reason=f"medseg failed: {told(error)}", failed=True)
    try:
        if float32 and subject.size is not QUICK:
            half = subject.least_dice(ours, subject.by_nnunet())
            print(f"{name}: nnU-Net's own float16 sums give {half}", file=sys.stderr)
        with peers.sums_in_float32() if float32 else nullcontext():
            least = subject.least_dice(ours, subject.by_nnunet())
    except FAILURES as error:
        return Row(name, 1.0, unit="1-D", reason=f"the peer failed: {told(error)}")
    return Row(name, 1.0, max(1 - least, 1e-9), 1 - LEAST_DICE, unit="1-D")


# ---- memory


@cache
def peak(*arguments: Any) -> dict[str, Any]:
    """What `inference_memory.py` prints."""
    script = Path(__file__).with_name("inference_memory.py")
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=3000)
    return json.loads(done.stdout.splitlines()[-1])


def peak_of_export(size: Size, classes: int) -> dict[str, Any]:
    """Peaks above the scores: `ours` and, where nnU-Net ran, `peer`."""
    return peak("restore", classes, *size.memory[0], *size.memory[1], "nnunet")


def measure_limit(name: str, size: Size) -> Row:
    """Peak above the scores of the way back against the limit."""
    try:
        ours = peak_of_export(size, CLASSES)["ours"]
    except FAILURES as error:
        return Row(name, 1.0, unit="MB", reason=f"medseg failed: {told(error)}", failed=True)
    return Row(name, 1.0, ours, LIMIT_MB, unit="MB")


def measure_export_memory(name: str, size: Size, classes: int) -> Row:
    """Peak above the scores against nnU-Net's export."""
    try:
        found = peak_of_export(size, classes)
    except FAILURES as error:
        return Row(name, THIRD, unit="MB", reason=f"medseg failed: {told(error)}", failed=True)
    return Row(name, THIRD, found["ours"], found.get("peer"), unit="MB", reason=found.get("reason", ""))


def measure_process(name: str, size: Size, study: IntTriple, limit_mb: float, ram: str) -> Row:
    """The whole process, from the file to the label file, 25 classes, a small network; `ram` of none: no promise."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            inputs.write_untrained_run(place / "run", 25, (1.5,) * 3, (size.budget_patch,) * 3, (8, 16, 16), 0.0)
            write_volume(place / "ct.nii", inputs.study(study, (0.8, 0.8, 1.0)))
            found = peak("study", place / "run", place / "ct.nii", place / "labels.nii.gz", ram)
    except FAILURES as error:
        return Row(name, 1.0, unit="MB", reason=f"medseg failed: {told(error)}", failed=True)
    return Row(name, 1.0, found["peak"], limit_mb, unit="MB")


# ---- all of it


def rows(size: Size, names: set[str], effort: Effort) -> Iterator[Row]:
    """Time first, one after the other; then memory, in the quick form two processes at a time."""
    quick = size is QUICK

    def wanted(table: dict[str, Callable[[], Row]]) -> list[Callable[[], Row]]:
        return [row for name, row in table.items() if (name in names if names else not quick or name not in NOT_QUICK)]

    yield from (row() for row in wanted(timed(size, effort)))
    with ThreadPoolExecutor(2 if quick else 1) as pool:
        yield from pool.map(lambda row: row(), wanted(weighed(size)))


def timed(size: Size, effort: Effort) -> dict[str, Callable[[], Row]]:
    """Rows of seconds and of sameness."""
    subject, untrained = Subject(size), Subject(replace(size, taught=0))
    once, thrice = replace(effort, runs=1), replace(effort, runs=3)
    table: dict[str, tuple[float, Callable[[], Comparison], Effort]] = {
        "scores_to_labels_vs_nnunet": (8, partial(scores_against_nnunet, size, 1), effort),
        "scores_to_labels_cubic": (8, partial(scores_against_nnunet, size, 3), once),
        "whole_vs_bare_network": (1 / size.bare, partial(against_bare, subject, as_it_is), thrice),
        "whole_vs_our_network": (0.0, partial(against_bare, subject, on_cpu), effort),
        "whole_vs_nnunet": (1 / 0.8, lambda: whole(subject, subject.by_nnunet), effort),
        "whole_vs_monai": (1 / 0.8, lambda: whole(subject, subject.by_monai), effort),
    }
    found: dict[str, Callable[[], Row]] = {name: partial(measure, name, *row) for name, row in table.items()}
    same = ("same_labels_as_nnunet", subject, False), (UNTRAINED, untrained, True)
    return found | {name: partial(measure_sameness, name, own, float32=float32) for name, own, float32 in same}


def weighed(size: Size) -> dict[str, Callable[[], Row]]:
    """Rows of memory."""
    two_gib = 2**31 / 1e6
    table: dict[str, Callable[[str], Row]] = {
        "memory_vs_nnunet_5": partial(measure_export_memory, size=size, classes=5),
        "memory_vs_nnunet_25": partial(measure_export_memory, size=size, classes=25),
        "whole_process_under_2G": partial(measure_process, size=size, study=size.long, limit_mb=two_gib, ram=BUDGET),
        "scores_to_labels_memory": partial(measure_limit, size=size),  # of the process of the first row
        KONFAI: partial(measure_process, size=size, study=KONFAI_STUDY, limit_mb=KONFAI_MB, ram="none"),
    }
    return {name: partial(row, name) for name, row in table.items()}


NAMES = (
    "scores_to_labels_vs_nnunet", "scores_to_labels_cubic", "scores_to_labels_memory", "memory_vs_nnunet_5",
    "memory_vs_nnunet_25", "whole_vs_bare_network", "whole_vs_our_network", "whole_vs_nnunet", "whole_vs_monai",
    "same_labels_as_nnunet", UNTRAINED, "whole_process_under_2G", KONFAI,
)  # fmt: skip


def setting(size: Size) -> str:
    """What the figures depend on, in one line."""

    def found(name: str) -> str:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            return f"no {name}"

    return (
        f"scores {_times(size.scores[0])} to {_times(size.scores[1])}, {CLASSES} classes; whole predictions of "
        f"{_times(size.study)} voxels at {size.standard_mm:g} mm with tiles of {size.patch} and channels "
        f"{', '.join(map(str, size.channels))}; {', '.join(map(found, ('torch', 'nnunetv2', 'monai')))}; "
        f"{torch.get_num_threads()} threads"
    )


def _times(shape: IntTriple) -> str:
    return " x ".join(map(str, shape))


MARKDOWN_HEADER = "| row | ours | peer | ratio | asked for | |\n|---|---|---|---|---|---|"


def as_markdown(row: Row) -> str:
    """A line of the table."""
    shown = ["–" if value is None else f"{value:.3g}" for value in (row.ours, row.peer, row.ratio, row.target)]
    units = [f"{text} {row.unit}".rstrip() if text != "–" else text for text in shown[:2]]
    verdict = "met" if row.met else f"**not met** {row.reason}".rstrip()
    return " | ".join(("| " + row.name.replace("_", " "), *units, *shown[2:], verdict)) + " |"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller studies and networks, fewer runs")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line on stdout, all else on stderr")
    form.add_argument("--markdown", action="store_true", help="a table on stdout, all else on stderr")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", choices=NAMES, help="these rows alone")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    size = QUICK if options.quick else FULL
    effort = Effort(runs=1, least_s=0.0, most_s=1) if options.quick else Effort(3, 3, 120)
    log = sys.stderr if options.json or options.markdown else sys.stdout
    print(setting(size), HEADER, sep="\n", file=log, flush=True)
    found = []
    for row in rows(size, set(options.only), effort):
        found.append(row)
        print(row.as_text(), file=log, flush=True)
        if options.json:
            print(json.dumps(row.as_json()), flush=True)
    if options.markdown:
        print(setting(size) + ".", "", MARKDOWN_HEADER, *map(as_markdown, found), sep="\n")
    return int(any(row.failed for row in found))


if __name__ == "__main__":
    sys.exit(main())
