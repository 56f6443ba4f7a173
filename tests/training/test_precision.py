"""The check of bf16: on convolutions that are right, wrong, broken or slow."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from medseg.errors import UsageError
from medseg.training.distributed import World
from medseg.training.loop import TrainingConfig
from medseg.training.machine import Machine, check_wishes, choose_machine, choose_precision, fastest
from medseg.training.precision import PrecisionCheck, check_bf16, padded_convolution

CPU = torch.device("cpu")


def sound(image: Tensor, kernel: Tensor) -> Tensor:
    """A convolution whose only error in bf16 is the rounding of its output."""
    return padded_convolution(image.float(), kernel.float()).to(image.dtype)


def wrong(image: Tensor, kernel: Tensor) -> Tensor:
    return sound(image, kernel) * (1.1 if image.dtype == torch.bfloat16 else 1)


class Infinite(torch.autograd.Function):
    """The identity, whose slope in bf16 is not finite on tiny feature maps."""

    @staticmethod
    def forward(ctx, kernel: Tensor, voxels: int) -> Tensor:  # type: ignore[override]
        ctx.broken = kernel.dtype == torch.bfloat16 and voxels < 100
        return kernel.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return (gradient * float("nan") if ctx.broken else gradient), None


def broken(image: Tensor, kernel: Tensor) -> Tensor:
    return sound(image, Infinite.apply(kernel, image[0, 0].numel()))


def clock(bf16: float) -> Callable[[Callable[[], None], torch.device], float]:
    """A stopwatch that reads 1 for fp32 and this for bf16, in turns."""
    readings: list[float] = []

    def seconds(run: Callable[[], None], device: torch.device) -> float:
        readings.append(1.0 if len(readings) % 2 == 0 else bf16)
        return readings[-1]

    return seconds


@pytest.mark.parametrize(
    "convolution, bf16, sentence",
    [
        (sound, 0.5, r"Precision: bf16; .* differ from fp32 by 0\.\d% and take 0\.50 times as long"),
        (wrong, 0.5, r"Precision: fp32; .* are wrong .*relative error 0\.1"),
        (broken, 0.5, r"Precision: fp32; .* are wrong .*relative error nan"),
        (sound, 4.0, r"Precision: fp32; .* take 4\.0 times as long as in fp32"),
    ],
)
def test_bf16_is_taken_when_its_values_are_right_and_it_is_not_slower(
    monkeypatch: pytest.MonkeyPatch, convolution: Callable[..., Tensor], bf16: float, sentence: str
) -> None:
    monkeypatch.setattr("medseg.training.precision.TYPICAL", ((1, 4, (8, 8, 8)),))
    monkeypatch.setattr("medseg.training.precision.TINY", ((1, 4, (2, 2, 2)), (1, 3, (4, 4, 1))))

    found = check_bf16(CPU, convolution, clock(bf16))

    assert found.passed == (convolution is sound and bf16 < 1)
    assert re.match(sentence, found.sentence), found.sentence


def test_all_processes_run_in_fp32_when_the_check_of_one_fails() -> None:
    checks = {"passes": PrecisionCheck(0.003, 0.5), "fails": PrecisionCheck(0.5, 0.5)}

    class Two(World):
        def gathered(self, item):  # type: ignore[no-untyped-def]
            return [item, (checks["fails"].passed, checks["fails"].sentence)]

    bf16, sentence = choose_precision(TrainingConfig(), Two(), lambda device: checks["passes"])

    assert not bf16
    assert sentence.startswith("Precision: fp32")


@pytest.mark.parametrize("asked, bf16", [("fp32", False), ("bf16", True)])
def test_a_precision_that_is_asked_for_is_not_checked(asked: str, bf16: bool) -> None:
    def check(device: torch.device) -> PrecisionCheck:
        raise AssertionError

    assert choose_precision(TrainingConfig(precision=asked), World(), check)[0] == bf16  # type: ignore[arg-type]


def test_on_the_cpu_auto_is_fp32_as_it_is_and_nothing_is_measured() -> None:
    machine, said = choose_machine(torch.nn.Conv3d(1, 2, 1), TrainingConfig(), World(), 1, (8, 8, 8))

    assert (machine, said) == (Machine(World()), [])
    assert (machine.bf16, machine.channels_last, machine.compiled) == (False, False, False)


@pytest.mark.parametrize(
    "wish, reason",
    [
        (
            {"precision": "bf16"},
            r"training\.precision: bf16 is not for training on a CPU; got gradients .*auto or fp32",
        ),
        ({"compile": "on"}, r"training\.compile: compiling is for CUDA"),
    ],
)
def test_what_is_for_cuda_is_refused_on_the_cpu(wish: dict[str, str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        check_wishes(TrainingConfig(**wish), World())  # type: ignore[arg-type]


def test_a_batch_that_cannot_be_shared_out_evenly_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"training\.batch: .*expected a multiple of 4 \(2 processes, 2 parts\), got 6"
    ):
        check_wishes(TrainingConfig(batch=6, accumulate=2), World(0, 2))


def test_a_layout_is_taken_when_it_is_clearly_faster() -> None:
    plain, last = Machine(), Machine(channels_last=True)

    assert fastest({plain: 1.0, last: 0.9}) == last
    assert fastest({plain: 1.0, last: 0.98}) == plain
    assert fastest({plain: float("inf"), last: 1.0}) == last
