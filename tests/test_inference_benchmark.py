"""`benchmarks/inference.py`: both sides of each row give the same labels, and promises of memory seen from outside."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from medseg.shapes import IntTriple
from tests.support.measured_process import measured

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        import inference

        yield inference


@pytest.fixture(scope="module")
def tiny(bench: ModuleType) -> object:
    scores = ((24, 20, 12), (45, 38, 12))
    return bench.Size(scores, scores, (48, 48, 48), 2.0, 3.0, 16, (4, 4, 8), 2, 1.2, (64, 64, 64), 16)


def test_the_targets_are_the_promised_ones(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "measure", lambda name, least, build, effort: bench.Row(name, least))
    for function in ("measure_limit", "measure_process", "measure_sameness"):
        monkeypatch.setattr(bench, function, lambda name, *_, **__: bench.Row(name, 1.0))
    monkeypatch.setattr(bench, "measure_export_memory", lambda name, **_: bench.Row(name, bench.THIRD))

    found = {row.name: round(row.target, 3) for row in bench.rows(bench.FULL, set(), bench.Effort())}

    assert found["scores_to_labels_vs_nnunet"] == found["scores_to_labels_cubic"] == 8
    assert found["memory_vs_nnunet_5"] == found["memory_vs_nnunet_25"] == 3
    assert (bench.LIMIT_MB, bench.BUDGET) == (150, "2G")
    assert (found["whole_vs_bare_network"], found["whole_vs_nnunet"], found["whole_vs_monai"]) == (0.909, 1.25, 1.25)


def test_a_missing_peer_is_a_row_that_is_not_met(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nnunetv2.inference.predict_from_raw_data", None)
    small = ((12, 10, 6), (20, 18, 6))
    size = bench.Size(small, small, (24, 24, 24), 2.0, 3.0, 16, (4, 4, 8), 0, 1.2, (64, 64, 64), 16)
    subject, effort = bench.Subject(size), bench.Effort(1, 0.0, 1)

    found = [
        bench.measure("scores", 8, lambda: bench.scores_against_nnunet(size, 1), effort),
        bench.measure("whole", 1.25, lambda: bench.whole(subject, subject.by_nnunet), effort),
        bench.measure_sameness("same", subject, float32=False),
    ]

    for row in found:
        assert row.reason.startswith("the peer failed: ")
        assert not row.met
        assert not row.failed


def test_the_quick_form_has_every_row_with_a_target(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for function in ("measure", "measure_limit", "measure_process", "measure_sameness", "measure_export_memory"):
        monkeypatch.setattr(bench, function, lambda name, *_, **__: bench.Row(name, 1.0))

    found = {row.name for row in bench.rows(bench.QUICK, set(), bench.Effort())}

    assert set(bench.NAMES) - found == {"memory_vs_konfai_published", "same_labels_untrained"}


@pytest.mark.parametrize("order", [1, 3])
def test_scores_become_the_labels_of_nnunets_export(bench: ModuleType, tiny: object, order: int) -> None:
    pytest.importorskip("nnunetv2", reason="needs the extra bench")
    comparison = bench.scores_against_nnunet(tiny, order)

    ours, theirs = comparison.ours().transpose(2, 1, 0), comparison.peer()

    assert np.count_nonzero(ours != theirs) <= 1  # float32 against float64 where two scores tie
    assert len(np.unique(theirs)) == bench.CLASSES


def test_labels_are_those_of_nnunets_predictor_with_the_same_weights(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nnU-Net sums in float16, which alone moves near ties of a hardly trained network; here it sums in float32."""
    pytest.importorskip("nnunetv2", reason="needs the extra bench")
    import torch

    size = bench.Size(bench.SCORES_QUICK, bench.SCORES_QUICK, (60, 60, 48), 2.0, 3.0, 16, (8, 8, 8), 10, 1.2,
                      (64, 64, 64), 16)  # fmt: skip
    subject = bench.Subject(size)
    ours = subject.inside(subject.predictor.predict(subject.standard).labels)
    monkeypatch.setattr(torch, "half", torch.float32)

    theirs = subject.by_nnunet()

    assert bench.peers.dice(ours, theirs, bench.CLASSES) >= 0.999
    assert len(np.unique(theirs)) > 2


def test_more_classes_hardly_take_more_memory(bench: ModuleType) -> None:
    few, many = (bench.peak("restore", classes, 64, 64, 32, 128, 128, 64)["ours"] for classes in (2, 20))

    assert many < few + 60  # MB; all 20 classes at the study's size would be 84 MB


def peak_mib(bench: ModuleType, folder: Path, shape: IntTriple, patch: int, ram: str, overlap: float) -> float:
    """The most MiB that a whole prediction of a 25-class study held, told by the system that ran it."""
    bench.inputs.write_untrained_run(folder / "run", 25, (1.5,) * 3, (patch,) * 3, (8, 8, 8), overlap)
    bench.write_volume(folder / "ct.nii", bench.inputs.study(shape, (0.8, 0.8, 1.0)))
    arguments = ["study", folder / "run", folder / "ct.nii", folder / "labels.nii.gz", ram]
    found = measured([sys.executable, FOLDER / "inference_memory.py", *arguments])
    assert found.code == 0, found.said
    assert (folder / "labels.nii.gz").exists()
    return found.peak_mib


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory in kB is Linux's")
def test_a_promise_of_memory_is_kept_by_the_whole_process(bench: ModuleType, tmp_path: Path) -> None:
    assert peak_mib(bench, tmp_path, (256, 256, 120), 32, "1100M", 0.0) <= 1100


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory in kB is Linux's")
def test_a_study_of_800_slices_and_25_classes_is_predicted_in_2_gib(bench: ModuleType, tmp_path: Path) -> None:
    assert peak_mib(bench, tmp_path, (512, 512, 800), 64, "2G", 0.25) <= 2048
