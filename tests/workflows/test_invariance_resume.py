"""A test that was cut off goes on where it stopped."""

import json
from pathlib import Path

import pytest

from medseg.workflows.dose_response import invariance
from medseg.workflows.invariance_models import CalledModel
from tests.support.sided_blocks import NAMES, by_side, make_dataset

OPTIONS = {"transforms": "blur,hu_shift", "doses": ["blur=1,2", "hu_shift=-60"], "images": False}
EACH_CASE = 4  # predictions: unchanged, two blurs, one shift


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("blocks"), cases=2)


@pytest.fixture
def asked(monkeypatch) -> list:
    """What the model was asked; it stands for a run, whose files vouch for it."""
    asked: list = []

    def model(volume):
        asked.append(volume)
        return by_side(volume)

    def open_model(folder, **options):
        return CalledModel(Path(folder).name, model, NAMES, digest=str(folder))

    monkeypatch.setattr("medseg.workflows.dose_response.open_model", open_model)
    monkeypatch.setattr("medseg.workflows.dose_response.worst_pictures", lambda *args, **options: [])
    monkeypatch.setattr("medseg.workflows.invariance_files.invariance_page", lambda result, pictures: "")
    monkeypatch.setattr("medseg.workflows.invariance_files.save", lambda figure, path: None)
    return asked


def stop_after(count):
    def progress(what, done, total, note):
        if done == count:
            raise KeyboardInterrupt

    return progress


def test_finished_predictions_are_not_computed_again(dataset, tmp_path, asked):
    with pytest.raises(KeyboardInterrupt):
        invariance("run", dataset, out=tmp_path / "out", progress=stop_after(EACH_CASE + 2), **OPTIONS)
    asked.clear()
    invariance("run", dataset, out=tmp_path / "out", **OPTIONS)
    assert len(asked) == 3  # of the second case two doses, and the unchanged input that they are compared with


def test_what_was_cut_off_ends_as_if_it_had_not_been(dataset, tmp_path, asked):
    with pytest.raises(KeyboardInterrupt):
        invariance("run", dataset, out=tmp_path / "cut", progress=stop_after(3), **OPTIONS)
    resumed = invariance("run", dataset, out=tmp_path / "cut", **OPTIONS)
    assert resumed == invariance("run", dataset, out=tmp_path / "whole", **OPTIONS)
    assert (tmp_path / "cut/invariance.csv").read_bytes() == (tmp_path / "whole/invariance.csv").read_bytes()


def test_more_doses_reuse_those_that_are_there(dataset, tmp_path, asked):
    invariance("run", dataset, out=tmp_path / "out", **OPTIONS)
    asked.clear()
    more = OPTIONS | {"doses": ["blur=1,2,4", "hu_shift=-60"]}
    invariance("run", dataset, out=tmp_path / "out", overwrite=True, **more)
    assert len(asked) == 2 * 2


@pytest.mark.parametrize("change", [{"seed": 1}, {"model": "another"}], ids=["seed", "run"])
def test_another_seed_or_run_reuses_nothing(dataset, tmp_path, asked, change):
    invariance("run", dataset, out=tmp_path / "out", **OPTIONS)
    asked.clear()
    options = {"model": "run"} | OPTIONS | change
    invariance(options.pop("model"), dataset, out=tmp_path / "out", overwrite=True, **options)
    assert len(asked) == 2 * EACH_CASE


def test_a_line_that_was_cut_off_is_computed_again(dataset, tmp_path, asked):
    whole = invariance("run", dataset, out=tmp_path / "out", **OPTIONS)
    asked.clear()
    path = next((tmp_path / "out/scored").glob("*.jsonl"))
    path.write_text(path.read_text()[:-30])
    assert invariance("run", dataset, out=tmp_path / "out", overwrite=True, **OPTIONS) == whole
    assert len(asked) == 2


def test_a_function_cannot_be_vouched_for_and_keeps_nothing(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("medseg.workflows.invariance_files.invariance_page", lambda result, pictures: "")
    monkeypatch.setattr("medseg.workflows.invariance_files.save", lambda figure, path: None)
    invariance(by_side, dataset, out=tmp_path / "out", **OPTIONS)
    assert not (tmp_path / "out/scored").exists()


def test_what_is_kept_is_small_and_names_nobody(dataset, tmp_path, asked):
    invariance("run", dataset, out=tmp_path / "out", **OPTIONS)
    files = list((tmp_path / "out/scored").glob("*.jsonl"))
    assert len(files) == 2
    assert sum(file.stat().st_size for file in files) < 10_000
    assert all(set(json.loads(line)) == {"transform", "dose", "meaning", "scores"}
               for file in files for line in file.read_text().splitlines() if line)  # fmt: skip
