"""The loop: learns, saves when due, stops when asked, and goes on bit by bit where it stopped."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from medseg.errors import TrainingError, UsageError
from medseg.losses.deep_supervision import DeepSupervision
from medseg.losses.dice_ce import DiceCEConfig
from medseg.models.unet import UNetConfig
from medseg.models.unetr import UNETRConfig
from medseg.training import loop
from medseg.training.checkpoint import digest, read_checkpoint, write_checkpoint
from medseg.training.events import StepEvent, ValidationEvent
from medseg.training.loop import Hooks, TrainingConfig, TrainingState, choose_device, stop_signal, train_steps
from medseg.training.loop import new_state as begin
from medseg.training.optim import AdamWConfig, OptimizerConfig, ScheduleConfig, SGDConfig
from medseg.training.settings import EarlyStoppingConfig

Settings = Callable[..., TrainingConfig]
Batches = Callable[[int], list[dict[str, Any]]]
Silent = Callable[..., Hooks]

MODELS = {
    "unet": UNetConfig(channels=(4, 4, 8), deep_supervision=1),
    "unetr with dropout": UNETRConfig(hidden=16, mlp=16, heads=2, features=4, dropout=0.2),
}
OPTIMIZERS: dict[str, OptimizerConfig] = {
    "adamw": AdamWConfig(learning_rate=1e-2),
    "sgd": SGDConfig(learning_rate=1e-2),
    "sgd without momentum": SGDConfig(learning_rate=1e-2, momentum=0),
}
LOSS = DeepSupervision(DiceCEConfig().build())


DEFAULT = TrainingConfig(optimizer=OPTIMIZERS["adamw"])


def new_state(model: str = "unet", config: TrainingConfig = DEFAULT, seed: int = 0) -> TrainingState:
    torch.manual_seed(seed)
    return begin(MODELS[model].build(1, 2, (16, 16, 16)), config)


def scored(*means: float | None) -> Callable[[bool, Any], Any]:
    """Validation that gives these Dice values one after the other; None: it was interrupted."""
    left = iter(means)

    def validate(everything: bool, stopped: Callable[[], bool]) -> dict[str, dict[str, float]] | None:
        mean = next(left)
        return None if mean is None else {"c1": {"liver": mean}}

    return validate


def until(stream: list[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    """`count` batches; then the process receives what Ctrl-C sends, and one more."""
    for done, batch in enumerate(stream, 1):
        if done == count:
            os.kill(os.getpid(), signal.SIGINT)
        yield batch


@pytest.mark.parametrize(
    "model, optimizer, ema",
    [
        ("unet", "adamw", None),
        ("unet", "sgd", 0.9),
        ("unet", "sgd without momentum", None),
        ("unetr with dropout", "adamw", 0.9),
    ],
)
@pytest.mark.parametrize("stop", [2, 5])
def test_a_resumed_run_ends_with_bit_identical_weights(
    tmp_path: Path, settings: Settings, batches_from: Batches, silent: Silent, model: str, optimizer: str, stop: int,
    ema: float | None,
) -> None:  # fmt: skip
    config = settings(6, OPTIMIZERS[optimizer], schedule=ScheduleConfig(warmup_steps=2), ema=ema)
    straight = new_state(model, config)
    assert train_steps(straight, batches_from(0), LOSS, config, silent())

    cut_short = new_state(model, config)
    assert not train_steps(cut_short, until(batches_from(0), stop), LOSS, config, silent())
    assert cut_short.step == stop
    write_checkpoint(tmp_path / "last.safetensors", cut_short.pack({}))
    resumed = new_state(model, config, seed=99)  # nothing of the first process is left
    resumed.unpack(read_checkpoint(tmp_path / "last.safetensors"))
    assert train_steps(resumed, batches_from(stop), LOSS, config, silent())

    assert digest(resumed.pack({}).tensors) == digest(straight.pack({}).tensors)


def test_training_lowers_the_loss(settings: Settings, batches_from: Batches, silent: Silent) -> None:
    hooks = silent()

    train_steps(new_state(), batches_from(0), LOSS, settings(12, AdamWConfig(learning_rate=3e-2)), hooks)

    assert hooks.losses[-1] < 0.8 * hooks.losses[0]


def test_a_loss_that_is_not_finite_stops_with_step_and_case_and_leaves_the_weights(
    settings: Settings, batches_from: Batches, silent: Silent
) -> None:
    stream = batches_from(0)
    stream[2]["image"][0, 0, 3, 3, 3] = float("nan")
    state, packed = new_state(), []

    with pytest.raises(TrainingError, match=r"step 3, cases c2: the loss is not finite.*learning_rate"):
        train_steps(
            state, stream, LOSS, settings(checkpoint_every=1), silent(save=lambda best: packed.append(state.step))
        )

    assert packed == [1, 2]
    assert all(torch.isfinite(weight).all() for weight in state.model.parameters())


def test_the_state_is_saved_when_due_when_best_and_at_the_end(
    settings: Settings, batches_from: Batches, silent: Silent
) -> None:
    state, saved, scores = new_state(), [], iter([0.5, 0.4, 0.7])
    hooks = silent(
        validate=lambda everything, stopped: {"c1": {"liver": next(scores)}},
        save=lambda best: saved.append((state.step, best)),
    )

    train_steps(state, batches_from(0), LOSS, settings(7, validate_every=3, checkpoint_every=4), hooks)

    assert saved == [(3, True), (4, False), (7, True)]  # 0.5 is the best so far, 0.4 at step 6 is not, 0.7 is
    assert state.best == 0.7


def test_an_interrupted_validation_saves_and_is_done_again_on_resume(
    settings: Settings, batches_from: Batches, silent: Silent
) -> None:
    config, saved = settings(4, validate_every=2, checkpoint_every=9), []
    state = new_state()

    cut_off = silent(validate=scored(None), save=lambda best: saved.append((state.step, best)))
    finished = train_steps(state, batches_from(0), LOSS, config, cut_off)
    resumed = new_state()
    resumed.unpack(state.pack({}))
    train_steps(resumed, batches_from(2), LOSS, config,
                silent(validate=scored(0.5, 0.4), save=lambda best: saved.append((resumed.step, best))))  # fmt: skip

    assert not finished
    assert saved == [(2, False), (2, True), (4, False)]
    assert resumed.best == 0.5


def test_early_stopping_ends_after_so_many_validations_without_a_gain(
    settings: Settings, batches_from: Batches, silent: Silent
) -> None:
    rule = EarlyStoppingConfig(patience=2, min_delta=0.1)
    config, saved, state = settings(10, validate_every=2, early_stopping=rule, checkpoint_every=99), [], new_state()
    hooks = silent(validate=scored(0.5, 0.55, 0.59), save=lambda best: saved.append((state.step, best)))

    finished = train_steps(state, batches_from(0), LOSS, config, hooks)

    assert (finished, state.step, state.ended) == (True, 6, True)
    assert saved == [(2, True), (4, True), (6, True)]  # better each time, but not by more than 0.1 over 0.5


def test_a_run_that_stopped_early_stays_stopped_when_it_is_resumed(
    settings: Settings, batches_from: Batches, silent: Silent
) -> None:
    config = settings(6, validate_every=2, early_stopping=EarlyStoppingConfig(patience=1))
    ended, resumed = new_state(), new_state()
    train_steps(ended, batches_from(0), LOSS, config, silent(validate=scored(0.5, 0.5)))
    resumed.unpack(ended.pack({}))

    assert train_steps(resumed, batches_from(4), LOSS, config, silent())
    assert resumed.step == 4


def test_a_subset_is_validated_on_the_way_and_all_cases_at_the_end_and_the_same_cases_decide(
    settings: Settings, batches_from: Batches, silent: Silent
) -> None:
    wanted, notes = [], Notes()
    scores = iter([{"c1": {"liver": 0.5}}, {"c1": {"liver": 0.4}, "c2": {"liver": 1.0}}])

    def validate(everything: bool, stopped: Callable[[], bool]) -> dict[str, dict[str, float]]:
        wanted.append(everything)
        return next(scores)

    state = new_state()
    hooks = silent(validate=validate, compared={"c1"}, watchers=[notes])
    train_steps(state, batches_from(0), LOSS, settings(4, validate_every=2), hooks)

    assert wanted == [False, True]
    assert state.best == 0.5  # c2 is easy, and does not make the second validation better
    assert notes.validations[1].mean == 0.7


def test_the_subset_is_the_same_each_time_and_of_the_size_asked_for(settings: Settings) -> None:
    cases = [f"c{n}" for n in range(20)]

    chosen = settings(validate_on=4).compared(cases)

    assert chosen is not None
    assert chosen == settings(validate_on=4).compared(cases)
    assert (len(chosen), chosen <= set(cases)) == (4, True)
    assert chosen != settings(validate_on=4, seed=1).compared(cases)
    assert settings(validate_on=20).compared(cases) is None


def test_the_average_of_the_weights_follows_its_decay(
    settings: Settings, batches_from: Batches, silent: Silent
) -> None:
    config = settings(2, ema=0.999)
    state, seen = new_state(config=config), []
    start = next(state.model.parameters()).detach().clone()
    hooks = silent(save=lambda best: seen.append(next(state.model.parameters()).detach().clone()))

    train_steps(state, batches_from(0), LOSS, config.model_copy(update={"checkpoint_every": 1}), hooks)

    first, second = seen
    expected = start
    for number, weight in ((1, first), (2, second)):
        kept = (1 + number) / (10 + number)  # below 0.999 while the training is young
        expected = kept * expected + (1 - kept) * weight
    assert state.average is not None
    torch.testing.assert_close(next(state.average.model.parameters()), expected)
    assert state.predicting is state.average.model


def test_watchers_are_closed_however_it_ends(settings: Settings, batches_from: Batches, silent: Silent) -> None:
    closed: list[int] = []
    notes = Notes()
    notes.close = lambda: closed.append(1)  # type: ignore[method-assign]
    broken = batches_from(0)
    broken[0]["image"][:] = float("nan")

    with pytest.raises(TrainingError):
        train_steps(new_state(), broken, LOSS, settings(2), silent(watchers=[notes]))
    train_steps(new_state(), batches_from(0), LOSS, settings(1), silent(watchers=[notes]))

    assert closed == [1, 1]


def test_without_validation_the_last_weights_are_the_best(
    settings: Settings, batches_from: Batches, silent: Silent
) -> None:
    saved: list[bool] = []

    train_steps(new_state(), batches_from(0), LOSS, settings(4, validate_every=2), silent(save=saved.append))

    assert saved == [True]


def test_what_the_loader_gave_is_prepared_before_the_step(settings: Settings, silent: Silent) -> None:
    prepared = {"image": torch.zeros(1, 1, 16, 16, 16), "target": torch.zeros(1, 2, 16, 16, 16)}
    prepared["weight"] = torch.ones(1, 1, 16, 16, 16)
    given: list[Any] = []

    train_steps(
        new_state(), ["raw"] * 2, LOSS, settings(2), silent(prepare=lambda batch: given.append(batch) or prepared)
    )

    assert given == ["raw", "raw"]


def test_the_share_of_waiting_counts_the_loader_alone(
    settings: Settings, batches_from: Batches, silent: Silent
) -> None:
    def slow() -> Iterator[dict[str, Any]]:
        for batch in batches_from(0):
            time.sleep(0.05)
            yield batch

    hooks, untouched = silent(), silent()
    train_steps(new_state(), slow(), LOSS, settings(3), hooks)

    assert hooks.waited >= 0.15
    assert hooks.wait_share == hooks.waited / (hooks.waited + hooks.stepped)
    assert untouched.wait_share == 0


@pytest.mark.parametrize(
    "asked, device, place",
    [("auto", "cpu", "loader"), ("auto", "cuda", "device"), ("loader", "cuda", "loader"), ("device", "cpu", "device")],
)
def test_augmentation_is_on_the_device_by_default_where_there_is_one(
    settings: Settings, asked: str, device: str, place: str
) -> None:
    assert settings(augment_on=asked).augments_on(torch.device(device)) == place


class Notes:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.steps: list[StepEvent] = []
        self.validations: list[ValidationEvent] = []

    def step(self, event: StepEvent) -> None:
        self.steps.append(event)

    def validation(self, event: ValidationEvent) -> None:
        self.validations.append(event)

    def close(self) -> None:
        """Nothing to close."""


def test_watchers_are_told_mean_loss_rate_and_dice(settings: Settings, batches_from: Batches, silent: Silent) -> None:
    notes = Notes()
    hooks = silent(
        watchers=[notes],
        validate=lambda everything, stopped: {"c1": {"liver": 0.5}, "c2": {"liver": 0.7, "spleen": 1.0}},
    )
    config = settings(4, validate_every=4, schedule=ScheduleConfig(name="poly", power=1.0))

    train_steps(new_state(), batches_from(0), LOSS, config, hooks)

    assert [event.step for event in notes.steps] == [2, 4]
    assert notes.steps[0].loss == pytest.approx(sum(hooks.losses[:2]) / 2, abs=1e-4)
    assert [event.learning_rate for event in notes.steps] == pytest.approx([1e-2 * 3 / 4, 1e-2 * 1 / 4])
    (validation,) = notes.validations
    assert (validation.dice, validation.mean) == ({"liver": 0.6, "spleen": 1.0}, 0.8)
    assert validation.cases["c2"] == {"liver": 0.7, "spleen": 1.0}


def test_gradients_are_clipped(settings: Settings, batches_from: Batches, silent: Silent) -> None:
    plain = TrainingConfig(optimizer=SGDConfig(momentum=0, weight_decay=0))
    still, free = new_state(config=plain), new_state(config=plain)
    start = [weight.detach().clone() for weight in still.model.parameters()]

    for state, norm in ((still, 1e-2), (free, 1e6)):
        train_steps(state, batches_from(0), LOSS, settings(1, SGDConfig(momentum=0, weight_decay=0), clip_norm=norm),
                    silent())  # fmt: skip

    moved = [
        sum(
            float((weight.detach() - old).square().sum())
            for weight, old in zip(s.model.parameters(), start, strict=True)
        )
        for s in (still, free)
    ]
    assert moved[0] ** 0.5 == pytest.approx(1e-4, rel=0.05)  # rate 1e-2 times a gradient cut to length 1e-2
    assert moved[1] > 4 * moved[0]


def test_the_first_signal_is_a_question_and_the_second_acts_at_once() -> None:
    with stop_signal() as stopped:
        assert not stopped()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)

    with stop_signal():
        assert signal.getsignal(signal.SIGINT) != before

    assert signal.getsignal(signal.SIGINT) == before


def test_outside_the_main_thread_training_works_without_handlers() -> None:
    answers: list[bool] = []

    def run() -> None:
        with stop_signal() as stopped:
            answers.append(stopped())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    assert answers == [False]


NO_MEMORY = [MemoryError(), RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: 9 bytes")]


@pytest.mark.parametrize("error", NO_MEMORY, ids=["python", "torch"])
def test_a_validation_without_memory_saves_and_is_done_again_on_resume(
    settings: Settings, batches_from: Batches, silent: Silent, error: Exception
) -> None:
    config, saved, state = settings(4, validate_every=2, checkpoint_every=9), [], new_state()

    def fail(everything: bool, stopped: Callable[[], bool]) -> Any:
        raise error

    with pytest.raises(TrainingError, match=r"^step 2: out of memory while validating\. Everything is saved.*--resume"):
        train_steps(state, batches_from(0), LOSS, config, silent(validate=fail, save=lambda best: saved.append(best)))
    straight, resumed = new_state(), new_state()
    resumed.unpack(state.pack({}))
    train_steps(resumed, batches_from(2), LOSS, config, silent(validate=scored(0.5, 0.4)))
    train_steps(straight, batches_from(0), LOSS, config, silent(validate=scored(0.5, 0.4)))

    assert saved == [False]
    assert digest(resumed.pack({}).tensors) == digest(straight.pack({}).tensors)
    assert resumed.facts == straight.facts


def test_the_last_validation_after_early_stopping_is_done_again_where_it_found_no_memory(
    settings: Settings, batches_from: Batches, silent: Silent
) -> None:
    config = settings(8, validate_every=2, early_stopping=EarlyStoppingConfig(patience=1))
    state, left = new_state(), iter([0.5, 0.5])

    def validate(everything: bool, stopped: Callable[[], bool]) -> dict[str, dict[str, float]]:
        if everything:
            raise MemoryError
        return {"c1": {"liver": next(left)}}

    with pytest.raises(TrainingError, match="out of memory while validating"):
        train_steps(state, batches_from(0), LOSS, config, silent(validate=validate, compared={"c1"}))

    assert (state.step, state.validated, state.ended, state.best) == (4, 2, False, 0.5)


class Loader:
    """Batches of a loader with three processes, of which the third batch fails."""

    num_workers = 3

    def __init__(self, stream: list[dict[str, Any]], error: Exception) -> None:
        self.stream, self.error = stream, error

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from self.stream[:2]
        raise self.error


@pytest.mark.parametrize(
    "error, told",
    [
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "probably because memory ran out"),
        (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), "probably because memory ran out"),
        (RuntimeError("Caught _ArrayMemoryError in DataLoader worker process 0."), "while the loader made a batch"),
        (MemoryError("Caught MemoryError in DataLoader worker process 0."), "while the loader made a batch"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "while the loader made a batch"),
    ],
)
def test_a_loader_without_memory_saves_and_names_fewer_processes(
    settings: Settings, batches_from: Batches, silent: Silent, error: Exception, told: str
) -> None:
    saved: list[bool] = []
    loader = Loader(batches_from(0), error)

    with pytest.raises(TrainingError, match=rf"^step 3: .*{told}\. Everything is saved; .*sampling\.workers=1"):
        train_steps(new_state(), loader, LOSS, settings(4), silent(save=saved.append))

    assert saved == [False]


def test_a_loader_process_that_dies_during_a_validation_leaves_it_to_be_done_again(
    settings: Settings, batches_from: Batches, silent: Silent
) -> None:
    state, saved = new_state(), []

    def save(best: bool) -> None:
        saved.append(best)
        if best:  # torch raises it in the main thread, wherever that is
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    with pytest.raises(TrainingError, match="the system ended a process of the loader"):
        train_steps(state, batches_from(0), LOSS, settings(4, validate_every=2),
                    silent(validate=scored(0.5), save=save))  # fmt: skip

    assert (saved[:2], state.validated, state.best) == ([True, False], 0, None)


def test_slow_steps_are_saved_before_so_many_are_done(
    settings: Settings, batches_from: Batches, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    state = new_state()
    monkeypatch.setattr(loop, "LONGEST_UNSAVED_S", 0.0)

    train_steps(state, batches_from(0), LOSS, settings(3, checkpoint_every=99),
                silent(save=lambda best: saved.append(state.step)))  # fmt: skip

    assert saved == [1, 2, 3]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error_when_asked_for() -> None:
    with pytest.raises(UsageError, match=r"device cuda: this machine has no CUDA device"):
        choose_device("cuda")
    assert choose_device("auto").type == choose_device("cpu").type == "cpu"
