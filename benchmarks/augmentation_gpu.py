"""What augmentation costs a training step on a CUDA device: batches of two patches, the default U-Net, bfloat16."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from augmentation_inputs import Sample
from io_rows import FAILURES, Row
from torch import Tensor

from medseg.models.unet import UNetConfig
from medseg.transforms.batch import BatchAugment

SHARE, THROUGHPUT = "gpu_share_of_step", "gpu_throughput"
NAMES = (SHARE, THROUGHPUT)
CLASSES, BATCH, WARM, STEPS, ROUNDS = 4, 2, 5, 20, 5


@dataclass(frozen=True)
class Bench:
    """A network and raw batches on a device; the raw samples lie in pinned memory, as a loader gives them."""

    sample: Sample
    device: torch.device
    channels: tuple[int, ...] = UNetConfig().channels

    @cached_property
    def network(self) -> torch.nn.Module:
        return (
            UNetConfig(channels=self.channels, deep_supervision=0).build(1, CLASSES, self.sample.patch).to(self.device)
        )

    @cached_property
    def optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.network.parameters(), lr=1e-3, momentum=0.99, nesterov=True)

    @cached_property
    def augment(self) -> BatchAugment:
        return BatchAugment("ct_default", spacing_mm=(1.0, 1.0, 1.0), patch_shape=self.sample.patch)

    def loaded(self, tensor: Tensor) -> Tensor:
        """A batch of one sample on the device, sent from pinned memory."""
        batch = torch.stack([tensor] * BATCH)
        if self.device.type != "cuda":
            return batch
        return batch.pin_memory().to(self.device, non_blocking=True)

    def augmented(self, images: Tensor, labels: Tensor, draw: int) -> tuple[Tensor, Tensor]:
        """The batch as the network is given it."""
        return self.augment(images, labels, seeds=[(0, draw, item) for item in range(BATCH)])

    def step(self, images: Tensor, labels: Tensor) -> None:
        """Forward, backward, update."""
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            logits: Any = self.network(images)
        logits = logits if isinstance(logits, Tensor) else logits[0]
        torch.nn.functional.cross_entropy(logits.float(), labels[:, 0].long()).backward()
        self.optimiser.step()

    def seconds(self, call: Callable[[int], Any], count: int) -> float:
        """Mean seconds of a call, the device's work included; the host waits once before and once after."""
        for draw in range(WARM):
            call(draw)
        self._wait()
        start = time.perf_counter()
        for draw in range(count):
            call(WARM + draw)
        self._wait()
        return (time.perf_counter() - start) / count

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def rows(edge: int, bench: Bench | None = None, steps: int = STEPS) -> Iterator[Row]:
    """Both rows; what goes wrong is our own failure."""
    bench = bench or Bench(Sample(edge), torch.device("cuda"))
    for name, target, measured in ((SHARE, 10.0, share_of_step), (THROUGHPUT, 0.9, throughput)):
        try:
            yield Row(name, target, *measured(bench, steps))
        except FAILURES as error:
            first = str(error).splitlines()[0] if str(error) else ""
            yield Row(name, target, reason=f"medseg failed: {type(error).__name__}: {first}", failed=True)


def share_of_step(bench: Bench, steps: int) -> tuple[float, float]:
    """Seconds of augmenting a batch, and of the training step; medians of rounds in turns."""
    images, labels = bench.loaded(bench.sample.hu), bench.loaded(bench.sample.labels)
    ready = bench.augmented(images, labels, 0)
    pairs = [
        (bench.seconds(lambda draw: bench.augmented(images, labels, draw), steps),
         bench.seconds(lambda draw: bench.step(*ready), steps))
        for _ in range(ROUNDS)
    ]  # fmt: skip
    ours, step = (statistics.median(side) for side in zip(*pairs, strict=True))
    return ours, step


def throughput(bench: Bench, steps: int) -> tuple[float, float]:
    """Seconds a step from loaded batches on, with augmentation and without (the patch alone is sent, windowed)."""
    hu, labels = bench.sample.hu, bench.sample.labels
    ready = [tensor.cpu() for tensor in bench.augment.eval()(hu[None], labels[None])]
    bench.augment.train()

    def with_augmentation(draw: int) -> None:
        bench.step(*bench.augmented(bench.loaded(hu), bench.loaded(labels), draw))

    def without(draw: int) -> None:
        bench.step(bench.loaded(ready[0][0]), bench.loaded(ready[1][0]))

    pairs = [(bench.seconds(with_augmentation, steps), bench.seconds(without, steps)) for _ in range(ROUNDS)]
    ours, plain = (statistics.median(side) for side in zip(*pairs, strict=True))
    return ours, plain
