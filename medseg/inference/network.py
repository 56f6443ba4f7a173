"""What one or several trained networks say about tiles: mirrored views and models averaged on the fly."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from math import log
from typing import Literal

import torch
from torch import Tensor, nn

from medseg.errors import MedsegError
from medseg.inference.on_cpu import on_cpu
from medseg.shapes import LEFT_RIGHT_AXIS

Say = Callable[[str], None]
Members = Literal["models", "raters"]


GPU_DO = "Use --device cpu, or train with a smaller patch."
CPU_DO = "Promise less with --ram, which chooses a frugal way, run fewer --jobs, or train with a smaller patch."
ALLOCATOR = "DefaultCPUAllocator"  # in PyTorch's RuntimeError where the memory of the machine ends


class DeviceMemoryError(MedsegError):
    """The device's memory does not hold a single tile, or not even the network."""

    exit_code = 1


def is_memory_fault(error: RuntimeError) -> bool:
    """Whether PyTorch says that memory could not be had, on a device or here."""
    return isinstance(error, torch.OutOfMemoryError) or ALLOCATOR in str(error)


@dataclass(eq=False)
class Networks:
    """Scores of tiles; one network's logits, or the logarithm of the mean of several networks' probabilities.

    Both are logits: their softmax is the probability, and the class of the highest score is the label. Logits of
    mirrored views of one network are averaged, as nnU-Net does.

    Args:
        models: networks on one device.
        normalise: for each network what brings a tile of the image to what it was trained on.
        mirror_axes: all combinations of these are averaged over.
        mirror_pairs: classes that mirroring exchanges.
        swap: when it does: where the left/right axis is mirrored (`side`) or where an odd number of axes is
            (`chirality`), as in training.
        precision: `fp32`, or on CUDA `bf16` or `fp16`.
        batch: tiles at a time; becomes smaller when the device's memory does not suffice.
        may_use_cpu: whether networks move to the CPU where not even one tile fits on the device.
        say: is told of both.
        members: who is heard one by one in `opinions`: the models, or the experts that each of them knows.
    """

    models: Sequence[nn.Module]
    normalise: Sequence[Callable[[Tensor], Tensor]]
    mirror_axes: tuple[int, ...] = ()
    mirror_pairs: Sequence[tuple[int, int]] = ()
    swap: Literal["side", "chirality"] = "side"
    precision: str = "fp32"
    batch: int = 1
    may_use_cpu: bool = True
    say: Say = lambda text: None
    members: Members | None = None
    device: torch.device = field(init=False)

    def __post_init__(self) -> None:
        self.device = device_of(self.models[0])

    @property
    def flips(self) -> list[tuple[int, ...]]:
        """The axes of each view."""
        axes = self.mirror_axes
        return [chosen for count in range(len(axes) + 1) for chosen in combinations(axes, count)]

    def __call__(self, tiles: Tensor) -> Tensor:
        """Scores (B, C, X, Y, Z) float32 on the device of tiles (B, 1, X, Y, Z), smaller batches after one that failed.

        Raises:
            DeviceMemoryError: not even one tile fits.
        """
        return self._in_batches(tiles, self._scores)

    def opinions(self, tiles: Tensor) -> tuple[Tensor, Tensor]:
        """The same scores with the members' disagreement behind them (B, C + 1, X, Y, Z), and each member's labels.

        The disagreement is the mutual information of the label and the member in nats: the entropy of the members' mean
        probability minus the mean of their entropies, 0 where all say the same (Houlsby et al., arXiv 1112.5745;
        Depeweg et al., ICML 2018). Labels are class numbers (B, M, X, Y, Z) in float32.

        Raises:
            DeviceMemoryError: not even one tile fits.
        """
        both = self._in_batches(tiles, self._opinions)
        members = self.count_members()
        return both[:, :-members], both[:, -members:]

    def count_members(self) -> int:
        """How many members `opinions` hears."""
        return len(self.models) if self.members == "models" else int(getattr(self.models[0], "raters", 0))

    def _in_batches(self, tiles: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        done: list[Tensor] = []
        place = 0
        while place < len(tiles):
            part = tiles[place : place + self.batch]
            try:
                done.append(compute(part.to(self.device)))
                place += len(part)
            except RuntimeError as error:
                if not is_memory_fault(error):
                    raise
                self._retreat(len(part), error)
        if len(done) == 1:
            return done[0]
        try:
            return torch.cat([scores.to(self.device) for scores in done])
        except torch.OutOfMemoryError:
            return torch.cat([scores.cpu() for scores in done])

    def _retreat(self, tried: int, error: BaseException) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if tried > 1:
            self.batch = max(1, tried // 2)
            self.say(
                f"The {self.device.type} memory does not hold {tried} tiles; going on with {self.batch} at a time."
            )
        elif self.device.type != "cpu" and self.may_use_cpu:
            self.models = [on_cpu(copy.deepcopy(model).to("cpu")) for model in self.models]
            self.device, self.precision = torch.device("cpu"), "fp32"
            self.say("The device's memory does not hold a single tile; going on with the CPU, which is slower.")
        else:
            raise DeviceMemoryError("the device's memory does not hold a single tile", got=self.device.type,
                                    do=CPU_DO if self.device.type == "cpu" else GPU_DO) from error  # fmt: skip

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """No gradients, and on CUDA the precision that was asked for."""
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        autocast = torch.autocast(self.device.type, half or torch.bfloat16, enabled=half is not None)
        with torch.inference_mode(), autocast:
            yield

    def _scores(self, tiles: Tensor) -> Tensor:
        with self._computing():
            if len(self.models) == 1:
                return self._logits(self.models[0], self.normalise[0](tiles))
            return _mean(self._logits(model, normalise(tiles)).log_softmax(1) for model, normalise in self._each)

    def _opinions(self, tiles: Tensor) -> Tensor:
        """Scores, disagreement and labels of the members, one behind the other along the second axis."""
        with self._computing():
            if self.members == "models":
                heard = _hear(self._logits(model, normalise(tiles)) for model, normalise in self._each)
                return torch.cat([heard.mean, heard.disagreement, *heard.labels], dim=1)
            found = (self._logits(model.opinions, normalise(tiles)) for model, normalise in self._each)  # type: ignore[arg-type]
            experts = next(iter(found)) if len(self.models) == 1 else _mean(own.log_softmax(2) for own in found)
            heard = _hear(experts[:, k] for k in range(1, experts.shape[1]))
            return torch.cat([experts[:, 0], heard.disagreement, *heard.labels], dim=1)

    @property
    def _each(self) -> Iterable[tuple[nn.Module, Callable[[Tensor], Tensor]]]:
        return zip(self.models, self.normalise, strict=True)

    def _logits(self, model: Callable[[Tensor], Tensor], tiles: Tensor) -> Tensor:
        """Mean over the views of what a model gives, (B, ..., C, X, Y, Z)."""
        total: Tensor | None = None
        flips = self.flips
        for axes in flips:
            dims = [axis - 3 for axis in axes]
            exchanged = LEFT_RIGHT_AXIS in axes if self.swap == "side" else len(axes) % 2 == 1
            view = tiles.flip(dims) if dims else tiles
            if exchanged and view.shape[1] > 1:
                view = exchange_classes(view, self.mirror_pairs)
            logits = model(view).float()
            if dims:
                logits = logits.flip(dims)
            if exchanged:
                logits = _exchange(logits, self.mirror_pairs)
            total = logits if total is None else total + logits
        assert total is not None
        return total / len(flips) if len(flips) > 1 else total


def on_device(
    models: Sequence[nn.Module], device: torch.device, *, may_use_cpu: bool = True, say: Say = lambda text: None
) -> list[nn.Module]:
    """The networks on the device; all on the CPU where its memory does not hold them and that is allowed, and said.

    Raises:
        DeviceMemoryError: it is not allowed.
    """
    try:
        return [model.to(device) for model in models]
    except torch.OutOfMemoryError as error:
        if not may_use_cpu:
            raise DeviceMemoryError("the device's memory does not hold the network", got=device.type,
                                    do="Use --device cpu.") from error  # fmt: skip
    found = [model.to("cpu") for model in models]  # weights that had gone there come back
    if device.type == "cuda":
        torch.cuda.empty_cache()
    say("The device's memory does not hold the network; going on with the CPU, which is slower.")
    return found


def device_of(model: nn.Module) -> torch.device:
    """Where a network's weights are; the CPU for one without any."""
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def exchange_classes(tiles: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Tiles (B, 2, X, Y, Z) of a cascade with left and right exchanged among the classes of the second channel."""
    image, given = tiles[:, :1], tiles[:, 1:]
    coarse = given.clone()
    for first, second in pairs:
        coarse[given == first] = second
        coarse[given == second] = first
    return torch.cat([image, coarse], dim=1)


def _exchange(logits: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """A mirrored patient has left and right exchanged, so the classes of the pairs are exchanged back."""
    order = list(range(logits.shape[-4]))
    for first, second in pairs:
        order[first], order[second] = order[second], order[first]
    return logits[..., order, :, :, :]


def _mean(shares: Iterable[Tensor]) -> Tensor:
    """The logarithm of the mean of probabilities that are given as logarithms."""
    total: Tensor | None = None
    count = 0
    for own in shares:
        total = own if total is None else torch.logaddexp(total, own)
        count += 1
    assert total is not None
    return total - log(count)


@dataclass(frozen=True, eq=False)
class _Heard:
    """What several say: the logarithm of their mean probability, their disagreement, and the labels of each."""

    mean: Tensor
    disagreement: Tensor
    labels: list[Tensor]


def _hear(members: Iterable[Tensor]) -> _Heard:
    """Of logits (B, C, X, Y, Z) one after the other, so that not all of them exist at a time."""
    within: Tensor | float = 0.0
    labels: list[Tensor] = []

    def each() -> Iterator[Tensor]:
        nonlocal within
        for logits in members:
            own = logits.log_softmax(1)
            within = within + _entropy(own)
            labels.append(own.argmax(1, keepdim=True).float())
            yield own

    mean = _mean(each())
    return _Heard(mean, (_entropy(mean) - within / len(labels)).clamp(min=0), labels)


def _entropy(shares: Tensor) -> Tensor:
    """Nats (B, 1, X, Y, Z) of probabilities (B, C, X, Y, Z) that are given as logarithms."""
    return -(shares.exp() * shares).sum(1, keepdim=True)
