"""Tests of `postprocessing.yaml`: written, read, changed by hand, refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.errors import ConfigError, LabelError
from medseg.imaging.labels import LabelSet
from medseg.imaging.postprocess import DropApart, DropSmall, FillCavities, KeepLargest
from medseg.workflows.postprocessing_file import (
    FILE,
    DropApartConfig,
    DropSmallConfig,
    FillCavitiesConfig,
    Gain,
    KeepLargestConfig,
    Postprocessing,
    agreed_postprocessing,
    postprocessing_doubts,
    read_postprocessing,
    write_postprocessing,
)

LABELS = LabelSet({"background": 0, "liver": 1, "tumour": 2})
LARGEST = KeepLargestConfig(of=("liver",))
ALL = Postprocessing(
    model_sha256="ab",
    steps=(
        KeepLargestConfig(of=("liver",), pieces=2, gain=Gain(dice_before=0.9, dice_after=0.91, cases=7)),
        DropSmallConfig(of=("tumour",), below_ml=0.3),
        DropApartConfig(of=("tumour",), touching=("liver",)),
        FillCavitiesConfig(of=("liver",)),
    ),
)


def _written(folder: Path, text: str) -> Path:
    (folder / FILE).write_text(text)
    return folder


def test_every_step_is_read_as_it_was_written(tmp_path: Path):
    write_postprocessing(tmp_path, ALL)
    assert read_postprocessing(tmp_path, LABELS) == ALL


def test_the_file_builds_the_steps():
    assert ALL.built == (KeepLargest(("liver",), 2), DropSmall(("tumour",), 0.3), DropApart(("tumour",), ("liver",)),
                         FillCavities(("liver",)))  # fmt: skip


def test_a_run_without_the_file_has_none(tmp_path: Path):
    assert read_postprocessing(tmp_path, LABELS) is None


def test_a_structure_of_another_run_is_refused(tmp_path: Path):
    folder = _written(tmp_path, "steps: [{name: keep_largest, of: [spleen]}]")
    with pytest.raises(LabelError, match=r"postprocessing\.yaml: no such structure 'spleen'"):
        read_postprocessing(folder, LABELS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("steps: [{name: keep_bigest, of: [liver]}]", "did you mean 'keep_largest'"),
        ("steps:\n- {name: drop_small, of: [liver], below_ml: -1}", "below_ml: wrong value"),
        ("steps: [{name: drop_small, of: [liver]}]", "below_ml: missing"),
        ("steps: [{name: keep_largest, of: []}]", "at least 1"),
        ("steps: [{name: keep_largest, of: [liver], pieces: 0}]", "pieces"),
        ("step: []", "unknown key"),
        ("format: medseg.plan/1", "format"),
    ],
    ids=["name", "negative", "missing", "nothing", "no piece", "key", "another file"],
)
def test_a_mistake_in_the_file_names_file_and_key(tmp_path: Path, text: str, told: str):
    with pytest.raises(ConfigError, match=rf"postprocessing\.yaml.*{told}"):
        read_postprocessing(_written(tmp_path, text), LABELS)


def test_the_hash_is_that_of_what_is_done():
    gain = Gain(dice_before=0, dice_after=1, cases=9)
    same = Postprocessing(model_sha256="x", steps=(KeepLargestConfig(of=("liver",), gain=gain),))
    other = Postprocessing(steps=(KeepLargestConfig(of=("liver",), pieces=2),))
    assert Postprocessing(steps=(LARGEST,)).digest == same.digest != other.digest
    assert Postprocessing().digest == ""


def test_runs_that_disagree_have_no_postprocessing_together(tmp_path: Path):
    folders = [tmp_path / name for name in "abc"]
    for folder, steps in zip(folders, [(LARGEST,), (LARGEST,), ()], strict=True):
        write_postprocessing(folder, Postprocessing(steps=steps))
    assert agreed_postprocessing(folders[:2], LABELS) == (Postprocessing(steps=(LARGEST,)), True)
    assert agreed_postprocessing(folders, LABELS) == (None, False)
    assert agreed_postprocessing(folders[2:], LABELS) == (None, True)


def test_doubts_are_told_of_runs_that_disagree_and_of_other_weights(tmp_path: Path):
    folders = [tmp_path / name for name in "ab"]
    write_postprocessing(folders[0], Postprocessing(steps=(LARGEST,), model_sha256="1"))
    assert "do not agree" in postprocessing_doubts(folders, "1")[0]
    assert "another checkpoint" in postprocessing_doubts(folders[:1], "2")[0]
    assert postprocessing_doubts(folders[:1], "1") == ()
