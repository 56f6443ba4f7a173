"""Damaged sources: whatever their small files say, the import gives a data set or one MedsegError."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from medseg.errors import MedsegError
from medseg.io.manifest import read_dataset
from medseg.workflows.importing import import_

PIECES = (b"0", b'"', b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"-1", b"1e999", b"9" * 5000, b'"$HOME/x"',
          b'"../../x.nii.gz"', b"\x00", b"\xff", b"\n", b"\t", b"NaN", b'"' + b"a" * 5000 + b'"', b'["a"]', b"[" * 3000,
          b"!!python/object/apply:os.system ['true']", b"&a [*a]")  # fmt: skip


def damaged(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        start, length = rng.randrange(len(data) + 1), rng.randint(0, 12)
        match rng.randrange(4):
            case 0:
                data[start : start + length] = rng.choice(PIECES)
            case 1:
                data[start : start + 1] = bytes([rng.randrange(256)])
            case 2:
                data = data[:start] + data[start : start + length] * 2 + data[start:]
            case 3:
                del data[start : start + length]
    return bytes(data)


@pytest.fixture
def sources(tree: Any) -> list[tuple[str, Path]]:
    """Small text files that layouts read."""
    for place in ("nnunet/imagesTr/a_0000", "msd/imagesTr/a", "bids/sub-1/ct/sub-1_ct", "raters/images/a"):
        tree.image(f"{place}.nii.gz")
    for place in ("nnunet/labelsTr/a", "msd/labelsTr/a", "bids/derivatives/m/sub-1/ct/sub-1_dseg", "raters/raters/A/a"):
        tree.labels(f"{place}.nii.gz", 1)
    listed = {"a": {"images": ["imagesTr/a_0000.nii.gz"], "label": "labelsTr/a.nii.gz"}}
    regions = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    return [
        ("nnunet", tree.json("nnunet/dataset.json", {
            "channel_names": {"0": "CT"}, "labels": regions, "regions_class_order": [1, 2], "numTraining": 1,
            "file_ending": ".nii.gz", "dataset": listed})),
        ("msd", tree.json("msd/dataset.json", {
            "modality": {"0": "CT"}, "labels": {"0": "background", "1": "x"}, "numTraining": 1,
            "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}], "test": []})),
        ("bids", tree.text("bids/derivatives/m/dseg.tsv", "index\tname\tabbreviation\n1\tliver\tL\n")),
        ("raters", tree.text("raters/labels.yaml", "labels: {liver: 1}\nignore: 2\nmirror_pairs: []\n")),
    ]  # fmt: skip


def test_every_damage_ends_in_an_error_of_ours_or_in_a_data_set(
    sources: list[tuple[str, Path]], tmp_path: Path
) -> None:
    rng, out, ends = random.Random(7), tmp_path / "out", {"error": 0, "data set": 0}
    for layout, path in sources * 60:
        root = path.parents[2] if layout == "bids" else path.parent
        content = path.read_bytes()
        path.write_bytes(damaged(content, rng))
        try:
            read_dataset(import_(layout, root, out).path)
            shutil.rmtree(out)
            ends["data set"] += 1
        except MedsegError as error:
            assert str(tmp_path) not in str(error)
            ends["error"] += 1
        finally:
            path.write_bytes(content)
        assert not out.exists()
    assert min(ends.values()) > 10
