"""The predictor: the study's own grid, every model's opinion, the data set's own label values."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor, nn

from medseg.errors import UsageError, WriteError
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.postprocess import FillCavities, KeepLargest
from medseg.imaging.volume import Volume
from medseg.inference.around import Around
from medseg.inference.asked import Asked
from medseg.inference.budget import Budget, Choice, read_size
from medseg.inference.predictor import ALONE, LABELS_ALONE, Predictor
from medseg.inference.slabs import Layout
from medseg.inference.sliding_window import InferenceConfig
from medseg.inference.stored import StoredMap, StoredProbabilities
from medseg.io.nifti import write_probabilities
from medseg.io.nifti_probabilities import read_probabilities
from medseg.phantom.shapes import rotation
from medseg.preprocessing.plan import Plan, PreprocessingConfig
from medseg.preprocessing.restore import Restoration, find_way

LABELS = LabelSet({"background": 0, "bright": 40})


class Threshold(nn.Module):
    """Class 1 where the normalised image is above `level`, with `strength` as logit."""

    def __init__(self, level: float, strength: float = 20.0) -> None:
        super().__init__()
        self.level, self.strength = nn.Parameter(torch.tensor(level)), strength

    def forward(self, image: Tensor) -> Tensor:
        above = torch.where(image > self.level, self.strength, -self.strength)
        return torch.cat([torch.zeros_like(image), above], dim=1)


def plan(*, crop: bool = False) -> Plan:
    return Plan(patch=(8, 8, 8), spacing_mm=(3, 2, 2), window_hu=(-1000, 1000), mean_hu=0, std_hu=1,
                preprocessing=PreprocessingConfig(crop_to_body=crop, margin_mm=5))  # fmt: skip


def predictor(*models: nn.Module, crop: bool = False) -> Predictor:
    return Predictor(models, [plan(crop=crop)] * len(models), LABELS, InferenceConfig(overlap=0.25))


@pytest.fixture
def study() -> Volume:
    """An oblique grid whose X, Y, Z run to the front, up and to the left; a bright box in air."""
    affine = np.eye(4)
    affine[:3, :3] = (rotation((8, -5, 12)) @ np.diag([-3.0, 2.0, 2.0]))[:, [1, 2, 0]]
    affine[:3, 3] = (12.3456789, -98.7654321, 55.5)
    hu = np.full((20, 16, 14), -1000, dtype=np.float32)
    hu[6:14, 4:12, 3:9] = 300
    return Volume(hu, Geometry(hu.shape, affine))  # type: ignore[arg-type]


@pytest.mark.parametrize("crop", [False, True])
def test_the_prediction_lies_on_exactly_the_grid_of_the_study(study: Volume, crop: bool) -> None:
    prediction = predictor(Threshold(0.0), crop=crop)(study)

    assert prediction.labels.shape == study.hu.shape
    assert np.array_equal(prediction.geometry.affine, study.geometry.affine)


@pytest.mark.parametrize("crop", [False, True])
def test_what_the_model_marks_comes_back_voxel_by_voxel_in_the_data_sets_values(study: Volume, crop: bool) -> None:
    labels = predictor(Threshold(0.0), crop=crop)(study).labels

    assert np.array_equal(labels, np.where(study.hu == 300, 40, 0))


def test_probabilities_come_on_request_on_the_same_grid(study: Volume) -> None:
    model = predictor(Threshold(0.0))

    probabilities = model(study, probabilities=True).probabilities

    assert model(study).probabilities is None
    assert probabilities is not None
    assert probabilities.shape == (*study.hu.shape, 2)
    assert probabilities[8, 8, 5] == pytest.approx([0, 1], abs=1e-4)
    assert probabilities[0, 0, 0] == pytest.approx([1, 0], abs=1e-4)


def test_several_models_are_averaged(study: Volume) -> None:
    outvoted = predictor(Threshold(0.0, 1.0), Threshold(900.0, 9.0))  # softmax of 1: 0.73; of -9: almost 0
    agreed = predictor(Threshold(0.0, 1.0), Threshold(0.0, 9.0))

    share = outvoted(study, probabilities=True).probabilities
    assert share is not None
    assert share[8, 8, 5, 1] == pytest.approx((1 / (1 + np.exp(-1))) / 2, abs=1e-3)
    assert not outvoted(study).labels.any()
    assert agreed(study).labels.any()


def test_steps_change_the_labels_on_the_studys_own_grid_and_not_the_probabilities(study: Volume) -> None:
    hu = study.hu.copy()
    hu[9, 7, 5], hu[0, 0, 0] = -1000, 300  # a cavity and a speck
    plain = predictor(Threshold(0.0))
    steps = replace(plain, steps=(KeepLargest(("bright",)), FillCavities(("bright",))))

    before, after = (each(replace(study, hu=hu), probabilities=True) for each in (plain, steps))

    assert (before.labels[0, 0, 0], before.labels[9, 7, 5]) == (40, 0)
    assert np.array_equal(after.labels, np.where(study.hu == 300, 40, 0))
    assert [(str(each), each.voxels) for each in after.changes] == [
        ("bright: only the largest piece", 1), ("bright: cavities filled", 1)
    ]  # fmt: skip
    assert np.array_equal(after.probabilities, before.probabilities)  # type: ignore[arg-type]


def test_labels_in_too_many_pieces_for_the_promise_are_refused(study: Volume) -> None:
    tight = replace(predictor(Threshold(0.0)), steps=(KeepLargest(("bright",)),), budget=Budget(ram=2**20))
    labels = np.full(study.hu.shape, 40)

    with pytest.raises(UsageError, match="too many pieces"):
        tight._postprocess(labels, study.geometry)


def test_a_study_smaller_than_a_patch_is_predicted(study: Volume) -> None:
    small = Volume(study.hu[8:11, 6:8, 4:9], study.geometry.cropped((8, 6, 4), (3, 2, 5)))

    assert (predictor(Threshold(0.0))(small).labels == 40).all()


def test_a_promise_of_memory_that_can_be_kept_changes_no_label(study: Volume) -> None:
    free = predictor(Threshold(0.0))

    kept = replace(free, budget=Budget(ram=64 * 2**30))(study)

    assert np.array_equal(kept.labels, free(study).labels)


def test_a_promise_that_cannot_be_kept_is_refused_before_the_network_starts(study: Volume) -> None:
    told: list[int] = []
    tight = replace(predictor(Threshold(0.0)), budget=Budget(ram=2**20))

    with pytest.raises(UsageError, match=r"--ram: the memory is too small .* expected at least"):
        tight(study, on_progress=lambda done, total: told.append(done))
    assert told == []


def test_probabilities_under_a_promise_lie_in_a_file_and_are_the_same(study: Volume, tmp_path: Path) -> None:
    free = predictor(Threshold(0.0), crop=True)
    kept = replace(free, budget=Budget(ram=64 * 2**30), scratch=tmp_path)

    stored, whole = (each(study, probabilities=True).probabilities for each in (kept, free))

    assert isinstance(stored, StoredProbabilities)
    assert np.array_equal(np.asarray(stored), whole)  # type: ignore[arg-type]
    assert np.array_equal(stored[..., 5, 1], whole[..., 5, 1])  # type: ignore[index]
    assert not any(tmp_path.iterdir())  # a file without a name is left behind by no crash


def test_stored_probabilities_are_written_as_nifti_plane_by_plane(study: Volume, tmp_path: Path) -> None:
    kept = replace(predictor(Threshold(0.0)), budget=Budget(ram=64 * 2**30))
    stored = kept(study, probabilities=True).probabilities
    assert stored is not None

    write_probabilities(tmp_path / "p.nii.gz", stored, study.geometry)

    assert np.array_equal(read_probabilities(tmp_path / "p.nii.gz")[0], np.asarray(stored))


def test_a_disk_without_room_is_told_before_anything_is_computed(
    study: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000})())

    with pytest.raises(WriteError, match="no room for the probabilities; expected 1M"):
        StoredProbabilities(study.geometry, 2)


def test_several_threads_get_the_same_labels_as_one(study: Volume) -> None:
    model = predictor(Threshold(0.0), Threshold(100.0))
    studies = [Volume(study.hu * sign, study.geometry) for sign in (1, -1, 0.3, 1)]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(model, studies))

    for volume, prediction in zip(studies, together, strict=True):
        assert np.array_equal(prediction.labels, model(volume).labels)


def test_counting_memory_in_one_thread_leaves_the_network_alone_that_another_uses(study: Volume) -> None:
    seen: list[str] = []

    class Watched(Threshold):
        def forward(self, image: Tensor) -> Tensor:
            seen.append(shared.level.device.type)  # of the network that all threads share, while any copy computes
            return super().forward(image)

    shared = Watched(0.0)
    model = replace(predictor(shared), budget=Budget(ram=64 * 2**30))

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(model, [study] * 4))

    assert seen and set(seen) == {"cpu"}
    assert all(np.array_equal(each.labels, np.where(study.hu == 300, 40, 0)) for each in together)


def test_the_two_halves_of_a_prediction_can_be_done_apart(study: Volume) -> None:
    model = predictor(Threshold(0.0))

    assert np.array_equal(model.predict(model.standardise(study)).labels, model(study).labels)


@pytest.mark.parametrize("order", [1, 3])
def test_labels_are_the_same_whatever_axis_the_sums_run_along(study: Volume, order: int) -> None:
    model = Predictor([Threshold(0.0)], [plan()], LABELS, InferenceConfig(order=order))  # type: ignore[arg-type]
    standard = model.standardise(study)
    found = []
    for axes in ((0, 1, 2), (1, 2, 0), (2, 1, 0)):
        labels = np.zeros(study.hu.shape, np.uint8)
        way = find_way(standard.geometry, study.geometry, axes, order)  # type: ignore[arg-type]
        assert way is not None
        restoration = Restoration(way, labels, np.array([0, 40], np.uint8), order)  # type: ignore[arg-type]
        model._run(standard, Choice(Layout(axes), 1), restoration, lambda done, total: None)
        found.append(labels)

    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])
    assert (found[0] == 40).any()


def test_air_gets_no_tiles_unless_that_is_asked_for(study: Volume) -> None:
    air = Volume(np.full_like(study.hu, -1000), study.geometry)
    everywhere = Threshold(-5000.0)  # marks anything
    every = Predictor([everywhere], [plan()], LABELS, InferenceConfig(skip_air=False))

    assert not predictor(everywhere)(air).labels.any()
    assert (every(air).labels == 40).all()


def test_maps_come_on_request_and_change_no_label(study: Volume) -> None:
    model = predictor(Threshold(0.0, 1.0), Threshold(0.0, 3.0), crop=True)

    found = model(study, maps=["entropy", "disagreement"])

    one, other = 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-3))
    mean = (one + other) / 2
    expected = {"entropy": _entropy(mean), "disagreement": _entropy(mean) - (_entropy(one) + _entropy(other)) / 2}
    for name, nats in expected.items():
        assert found.maps[name].values[10, 8, 6] == pytest.approx(nats, abs=1e-3)
        assert found.maps[name].values.shape == study.hu.shape
    assert np.array_equal(found.labels, model(study).labels)
    assert not model(study).maps and model(study).sums is None


def _entropy(p: float) -> float:
    return float(-p * np.log(p) - (1 - p) * np.log(1 - p))


def test_sums_add_up_to_the_probabilities(study: Volume) -> None:
    found = predictor(Threshold(0.0, 1.0), crop=True)(study, probabilities=True)

    assert found.sums is not None and found.probabilities is not None
    p = np.asarray(found.probabilities, dtype=np.float64)
    marked = found.labels == 40
    assert found.sums.total[1] == pytest.approx(p[..., 1].sum(), rel=1e-4)
    assert found.sums.inside[1] == pytest.approx(p[..., 1][marked].sum(), rel=1e-4)
    assert found.sums.voxels[1] == marked.sum()
    assert found.sums.possible[1] == (p[..., 1] >= 0.25).sum()


def test_members_have_the_volumes_that_they_have_alone(study: Volume) -> None:
    dim, bright = Threshold(-2000.0, 3.0), Threshold(100.0)  # the first marks all that any tile covers
    models = [Predictor([each], [plan()], LABELS, InferenceConfig(skip_air=False)) for each in (dim, bright)]

    sums = replace(models[0], models=[dim, bright], plans=[plan()] * 2)(study, uncertainty=True).sums

    assert sums is not None and sums.members is not None
    alone = [int((model(study).labels == 40).sum()) for model in models]
    assert alone[1] == 8 * 8 * 6 and alone[0] == study.hu.size
    assert sums.members[:, 1] == pytest.approx(alone, rel=0.25)  # another grid: up to half a voxel a side


def test_maps_under_a_promise_lie_in_a_file_and_are_the_same(study: Volume, tmp_path: Path) -> None:
    free = predictor(Threshold(0.0, 1.0), Threshold(0.0, 3.0), crop=True)
    kept = replace(free, budget=Budget(ram=64 * 2**30), scratch=tmp_path)

    stored, whole = (each(study, maps=["entropy", "disagreement"]).maps for each in (kept, free))

    assert isinstance(stored["entropy"].steps, StoredMap)
    for name in whole:
        assert np.array_equal(np.asarray(stored[name].steps), whole[name].steps)
    assert not any(tmp_path.iterdir())


def test_what_is_asked_for_is_counted_before_the_network_starts() -> None:
    grid = Geometry((512, 512, 400), np.diag([0.8, 0.8, 1.0, 1.0]))
    tight = replace(predictor(Threshold(0.0), Threshold(1.0)), budget=Budget(ram=64 * 2**30))
    least = {}
    for name, asked in (("labels", Asked()), ("maps", Asked(maps=("disagreement",)))):
        with pytest.raises(UsageError, match="expected at least") as caught:
            replace(tight, budget=Budget(ram=1))._choose(grid, grid, asked)
        least[name] = int(caught.value.args[0].split("at least ")[1].split("M")[0])

    assert least["maps"] > least["labels"] + 30


def test_one_network_alone_is_not_asked_to_disagree(study: Volume) -> None:
    with pytest.raises(UsageError, match="one network alone cannot disagree"):
        predictor(Threshold(0.0))(study, maps=["disagreement"])


def test_a_study_of_air_leaves_nothing_open(study: Volume) -> None:
    air = Volume(np.full_like(study.hu, -1000), study.geometry)

    found = predictor(Threshold(0.0), Threshold(1.0))(air, maps=["entropy", "disagreement"])

    assert found.sums is not None and found.sums.members is not None
    assert not found.maps["entropy"].values.any() and not found.maps["disagreement"].values.any()
    assert found.sums.total[1] < 1e-3 and not found.sums.members[:, 1].any()


def told_mb(model: Predictor, grid: Geometry, asked: Asked = LABELS_ALONE, around: Around = ALONE) -> int:
    """The smallest memory that is told for a study of this grid, before it is read."""
    with pytest.raises(UsageError, match="expected at least") as caught:
        replace(model, budget=Budget(ram=1)).check_room(grid, asked, around)
    told = read_size(caught.value.args[0].split("at least ")[1].split(",")[0], where="")
    assert told is not None
    return told // 2**20


def grid_of(*shape: int) -> Geometry:
    return Geometry(shape, np.diag([0.8, 0.8, 1.0, 1.0]))  # type: ignore[arg-type]


def test_the_smallest_memory_that_is_told_holds_the_study_in_float32() -> None:
    model, many = predictor(Threshold(0.0)), 512 * 512 * 1000 * 4 // 2**20

    assert told_mb(model, grid_of(512, 512, 1500)) - told_mb(model, grid_of(512, 512, 500)) >= many


def test_a_study_is_refused_by_its_header_where_reading_it_breaks_the_promise() -> None:
    tight = replace(predictor(Threshold(0.0), crop=True), budget=Budget(ram=1500 * 2**20))

    with pytest.raises(UsageError, match="--ram"):
        tight.check_room(grid_of(512, 512, 1500))
    tight.check_room(grid_of(128, 128, 100))


def test_what_is_written_and_kept_is_counted_where_it_is_more_than_the_network_takes() -> None:
    model, grid = predictor(Threshold(0.0)), grid_of(512, 512, 400)

    plain = told_mb(model, grid)
    assert told_mb(model, grid, around=Around(writing=2**30)) >= plain + 500
    assert told_mb(model, grid, around=Around(writing=2**30, keeps_volume=True)) >= plain + 900
    assert told_mb(model, grid, around=Around(reading=2**30)) >= plain + 900


def test_the_smallest_memory_that_is_told_covers_maps_and_cubic_interpolation() -> None:
    grid = grid_of(512, 512, 20)
    linear = predictor(*(Threshold(level) for level in (0.0, 1.0)))
    cubic = replace(linear, config=InferenceConfig(order=3))

    assert told_mb(linear, grid, Asked(maps=("disagreement",))) > told_mb(linear, grid) + 30
    assert told_mb(cubic, grid) > told_mb(linear, grid) + 30


def test_postprocessing_is_counted_before_the_network_starts() -> None:
    plain = predictor(Threshold(0.0))
    grid = grid_of(512, 512, 600)
    kept = Around(keeps_volume=True)  # what is let go before is no room for it

    with_steps = told_mb(replace(plain, steps=(KeepLargest(("bright",)),)), grid, LABELS_ALONE, kept)
    assert with_steps > told_mb(plain, grid, LABELS_ALONE, kept)


def test_many_probabilities_go_to_the_disk_where_a_folder_is_given(
    study: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = type("Memory", (), {"available": 4 * study.hu.size})()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    model = predictor(Threshold(0.0))

    kept = replace(model, scratch=tmp_path)(study, probabilities=True).probabilities
    assert isinstance(kept, StoredProbabilities)
    assert isinstance(model(study, probabilities=True).probabilities, np.ndarray)


def test_room_on_the_disk_is_asked_for_all_files_together(study: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    room = study.hu.size * (2 * 4 + 1)  # two classes in float32 fit, the map of int16 besides does not
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: type("Usage", (), {"free": room})())
    kept = replace(predictor(Threshold(0.0)), budget=Budget(ram=64 * 2**30))

    assert kept(study, probabilities=True).probabilities is not None
    with pytest.raises(WriteError, match="no room for the probabilities and maps"):
        kept(study, probabilities=True, maps=["entropy"])


def test_a_disk_that_takes_a_part_of_a_plane_is_given_the_rest(study: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, content, at: write(file, bytes(content)[:7], at))
    stored = StoredMap(study.geometry)
    steps = np.arange(study.hu.size, dtype=np.int16).reshape(study.hu.shape)

    stored.put(tuple(slice(0, n) for n in study.hu.shape), steps)  # type: ignore[arg-type]

    assert np.array_equal(np.asarray(stored), steps)
