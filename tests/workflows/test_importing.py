"""`import`: what every layout gets alike: copies, running numbers, the private key, and nothing half-written."""

from __future__ import annotations

import csv
import os
import stat
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Extension
from scipy.spatial.transform import Rotation

from medseg.errors import GeometryError, InputError, OutputExistsError, UsageError, VoxelError, WriteError
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.regions import RegionMap
from medseg.imaging.volume import Volume
from medseg.io import layouts, nifti
from medseg.io.layouts.layout import Derived, Drawn, FoundCase, Importer, ImportOptions, Layout
from medseg.io.manifest import read_case, read_dataset, read_image, read_reading
from medseg.workflows.importing import import_

OBLIQUE = np.eye(4)  # turned by 10, 20 and 30 degrees, flipped, 0.7 x 0.9 x 2.4 mm
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix() * [-0.7, 0.9, 2.4]
OBLIQUE[:3, 3] = 101.7, -45.3, 30.9
CASES = ("doe_jane", "roe_richard", "smith_ann")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three cases of two raters; file names and headers that say too much."""
    root = tmp_path / "hospital"
    for folder in ("images", "raters/A", "raters/B"):
        (root / folder).mkdir(parents=True)
    (root / "labels.yaml").write_text("liver: 5\nlesion: 300\n")
    for case in CASES:
        write(root / "images" / f"{case}.nii.gz", np.linspace(-1000, 900, 384).reshape(8, 8, 6).astype(np.float32))
        for rater in "AB":
            labels = np.zeros((8, 8, 6), dtype=np.int16)
            labels[2:4, 2:4, 2:4], labels[4:6, 4:6, 2:4] = 5, 300
            write(root / "raters" / rater / f"{case}.nii.gz", labels)
    return root


def write(path: Path, array: Any, affine: Any = OBLIQUE, *, sform: int = 1) -> None:
    image = nib.Nifti1Image(array, None if sform == 0 else affine)
    if sform == 0:
        image.header.set_qform(affine, code=1, strip_shears=True)
    image.header["descrip"] = b"Doe^Jane 1970-01-01"
    image.header.extensions.append(Nifti1Extension("comment", b"Doe^Jane"))
    nib.save(image, path)


def load(path: Path) -> Any:
    return nib.load(path)


def header(path: Path) -> Any:
    return load(path).header


# ---- referring


def test_files_are_referred_to_by_relative_paths(source: Path, tmp_path: Path) -> None:
    result = import_("raters", source, tmp_path / "new" / "set")

    text = result.path.read_text(encoding="utf-8")
    assert "../../hospital/images/doe_jane.nii.gz" in text and str(tmp_path) not in text
    assert read_dataset(result.path).cases[0].image == source / "images" / "doe_jane.nii.gz"
    assert (result.cases, result.raters, result.notes) == (3, ("A", "B"), ())


def test_progress_names_running_numbers_only(source: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []

    import_("raters", source, tmp_path / "out", progress=lambda _, done, total, note: told.append((done, total, note)))

    assert told == [(1, 3, "c0001"), (2, 3, "c0002"), (3, 3, "c0003")]


# ---- copying


def test_a_copy_is_free_of_everything_but_voxels_and_position(source: Path, tmp_path: Path) -> None:
    result = import_("raters", source, tmp_path / "out", copy=True)

    files = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.nii.gz"))
    assert files[0] == "images/c0001.nii.gz" and files[-1] == "labels/B/c0003.nii.gz" and len(files) == 9
    for path in (tmp_path / "out").rglob("*.nii.gz"):
        assert header(path)["descrip"].tobytes().strip(b"\0") == b"" and not header(path).extensions
    assert not any(case in result.path.read_text(encoding="utf-8") for case in CASES)


@pytest.mark.parametrize("sform", [1, 0])
def test_a_copys_affine_is_equal_bit_by_bit(source: Path, tmp_path: Path, sform: int) -> None:
    for path in source.rglob("*.nii.gz"):
        write(path, np.asanyarray(load(path).dataobj), sform=sform)

    import_("raters", source, tmp_path / "out", copy=True)

    for name, copy in (("images/doe_jane", "images/c0001"), ("raters/B/doe_jane", "labels/B/c0001")):
        original, copied = load(source / f"{name}.nii.gz"), load(tmp_path / "out" / f"{copy}.nii.gz")
        assert np.array_equal(original.affine, copied.affine)
        assert np.array_equal(np.asanyarray(original.dataobj), np.asanyarray(copied.dataobj))


def test_a_copy_is_read_as_the_source_is(source: Path, tmp_path: Path) -> None:
    referred = read_dataset(import_("raters", source, tmp_path / "referred").path)
    copied = read_dataset(import_("raters", source, tmp_path / "copied", copy=True).path)

    for a, b in zip(referred.cases, copied.cases, strict=True):
        assert np.array_equal(read_case(referred, a).volume.hu, read_case(copied, b).volume.hu)
        assert np.array_equal(read_case(referred, a).raters["B"].mask("lesion"),
                              read_case(copied, b).raters["B"].mask("lesion"))  # fmt: skip


# ---- files that need the user's word


def test_tilted_files_are_read_at_the_users_word(source: Path, tmp_path: Path) -> None:
    sheared = np.array([[-0.7, 0, 0, 1.5], [0, 0.7, 0.6, 2.5], [0, 0, 2.4, 3.5], [0, 0, 0, 1]])
    for path in source.rglob("*.nii.gz"):
        write(path, np.asanyarray(load(path).dataobj), sheared)

    with pytest.raises(GeometryError, match=r" and 4 more: .*sheared.* pass --tilt keep\."):
        import_("raters", source, tmp_path / "out")
    for copy in (False, True):
        kept = ImportOptions(tilt="keep")
        dataset = read_dataset(import_("raters", source, tmp_path / f"out{copy}", copy=copy, options=kept).path)
        assert np.allclose(read_case(dataset, dataset.cases[2]).volume.geometry.affine, sheared)
    with pytest.raises(UsageError, match="tilt resample means nothing for this kind of image"):
        import_("raters", source, tmp_path / "out", options=ImportOptions(tilt="resample"))


def test_undefined_voxels_are_filled_at_the_users_word(source: Path, tmp_path: Path) -> None:
    hu = np.zeros((8, 8, 6), dtype=np.float32)
    hu[0] = np.nan
    write(source / "images" / "roe_richard.nii.gz", hu)

    with pytest.raises(VoxelError, match=r"images/roe_richard\.nii\.gz"):
        import_("raters", source, tmp_path / "out", copy=True)
    for copy in (False, True):
        filled = ImportOptions(nan_hu=-1000)
        dataset = read_dataset(import_("raters", source, tmp_path / f"out{copy}", copy=copy, options=filled).path)
        assert read_image(dataset, dataset.cases[1]).hu[0].max() == -1000


# ---- the private key


def test_the_key_is_written_on_request_only(source: Path, tmp_path: Path) -> None:
    import_("raters", source, tmp_path / "out", copy=True)
    assert not list((tmp_path / "out").rglob("*.csv"))

    import_("raters", source, tmp_path / "out2", copy=True, sources=tmp_path / "safe" / "key.csv")

    with open(tmp_path / "safe" / "key.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows[1] == {"case": "c0002", "patient": "c0002", "source": "images/roe_richard.nii.gz"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such file modes")
def test_nobody_but_its_owner_may_read_the_key(source: Path, tmp_path: Path) -> None:
    import_("raters", source, tmp_path / "out", sources=tmp_path / "key.csv")
    assert stat.S_IMODE((tmp_path / "key.csv").stat().st_mode) == 0o600


def test_the_key_may_lie_inside_the_data_set(source: Path, tmp_path: Path) -> None:
    for _ in range(2):  # the second time an old data set is replaced
        import_("raters", source, tmp_path / "out", sources=tmp_path / "out" / "key.csv", overwrite=True)

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".medseg", "dataset.yaml", "key.csv"]


def test_an_old_key_is_kept(source: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.csv"
    key.write_text("mine")

    with pytest.raises(OutputExistsError, match=r"key\.csv: the private key is there already"):
        import_("raters", source, tmp_path / "out", sources=key)
    assert key.read_text() == "mine" and not (tmp_path / "out").exists()


# ---- failing


def test_nothing_half_written_stays(source: Path, tmp_path: Path) -> None:
    (source / "raters" / "B" / "smith_ann.nii.gz").write_bytes(b"broken")

    with pytest.raises(InputError, match=r"raters/B/smith_ann\.nii\.gz"):
        import_("raters", source, tmp_path / "new" / "set", copy=True, sources=tmp_path / "key.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hospital"]


def test_an_empty_folder_of_the_users_own_stays_empty(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (source / "images" / "smith_ann.nii.gz").write_bytes(b"broken")

    with pytest.raises(InputError):
        import_("raters", source, tmp_path / "out", copy=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".medseg"]


def test_an_old_data_set_survives_a_failure(source: Path, tmp_path: Path) -> None:
    before = import_("raters", source, tmp_path / "out", copy=True).path.read_text()
    (source / "images" / "smith_ann.nii.gz").write_bytes(b"broken")

    with pytest.raises(InputError):
        import_("raters", source, tmp_path / "out", copy=True, overwrite=True)
    assert (tmp_path / "out" / "dataset.yaml").read_text() == before
    assert len(list((tmp_path / "out").rglob("*.nii.gz"))) == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hospital", "out"]


def test_equal_faults_are_told_once_with_their_first_five_places(source: Path, tmp_path: Path) -> None:
    for path in [*(source / "raters").rglob("*.nii.gz"), source / "images" / "doe_jane.nii.gz"]:
        path.write_bytes(b"broken")

    with pytest.raises(InputError, match=r"images/doe_jane\.nii\.gz, (raters/[^ ]+, ){3}[^ ]+ and 2 more: ") as caught:
        import_("raters", source, tmp_path / "out")
    assert str(caught.value).count("not a NIfTI file") == 1 and str(tmp_path) not in str(caught.value)


def test_different_faults_are_told_side_by_side_with_their_number(source: Path, tmp_path: Path) -> None:
    (source / "images" / "doe_jane.nii.gz").write_bytes(b"broken")
    (source / "raters" / "A" / "doe_john.nii.gz").write_bytes(b"an orphan")

    with pytest.raises(InputError, match=r"2 faults: raters/A/doe_john\.nii\.gz: .* \| images/doe_jane\.nii\.gz: "):
        import_("raters", source, tmp_path / "out")


def test_a_full_disk_is_no_fault_of_the_source(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise WriteError("could not write: No space left on device")

    monkeypatch.setattr("medseg.io.nifti.write_labels", full)

    with pytest.raises(WriteError, match="No space left"):
        import_("raters", source, tmp_path / "out", copy=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("layout", "message"),
    [("bidz", r"no layout 'bidz'.*'bids'"), ("dataset", "expected one of nnunet, msd, bids, ")],
)
def test_an_unknown_layout_lists_the_known_ones(source: Path, tmp_path: Path, layout: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        import_(layout, source, tmp_path / "out")


def test_the_source_is_never_inside_what_is_replaced(source: Path, tmp_path: Path) -> None:
    copy = import_("raters", source, tmp_path / "out", copy=True).path.parent

    with pytest.raises(UsageError, match="the output folder holds the source"):
        import_("raters", copy, copy, overwrite=True)


def test_a_foreign_folder_is_not_filled(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")

    with pytest.raises(OutputExistsError, match="not made by medseg"):
        import_("raters", source, tmp_path / "out", overwrite=True)


# ---- readings that are made


def test_overlapping_regions_are_written_as_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an importer of contours does: structures with awkward names, one inside the other, filled slices."""
    grid = Geometry((8, 8, 6), OBLIQUE)
    labels = LabelSet({"background": 0, "GTV": 1, "GTV/rim": 2})
    masks = {"GTV": np.ones(grid.shape, dtype=bool), "GTV/rim": np.zeros(grid.shape, dtype=bool)}
    drawn = Drawn(RegionMap(masks, grid, labels), {"format": "contours"}, {"GTV": (2, 3)})
    nifti.write_volume(tmp_path / "source" / "ct.nii.gz", Volume(np.zeros(grid.shape, dtype=np.float32), grid))
    case = FoundCase("x", tmp_path / "source" / "ct.nii.gz", {"Dr. A/B": Derived(lambda: drawn)})
    found = partial(Layout, labels=labels, raters=("Dr. A/B",), cases=(case,))
    monkeypatch.setitem(layouts.LAYOUTS, "contours", Importer(lambda source, options: found(source), (), "test"))

    dataset = read_dataset(import_("contours", tmp_path / "source", tmp_path / "out").path)

    file = dataset.cases[0].raters["Dr. A/B"]
    assert file.masks["GTV/rim"] == tmp_path / "out" / "labels" / "Dr._A_B" / "c0001" / "GTV_rim.nii.gz"
    assert (dict(file.source), dict(file.filled)) == ({"format": "contours"}, {"GTV": (2, 3)})
    reading = read_reading(dataset, dataset.cases[0], "Dr. A/B")
    assert reading.mask("GTV").all() and not reading.mask("GTV/rim").any()


def test_dicom_images_are_copied_as_nifti(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series = Path(__file__).parents[1] / "data" / "dicom" / "lidc"
    found = partial(Layout, labels=LabelSet({"background": 0, "x": 1}), raters=(), cases=(FoundCase("s", series),))
    monkeypatch.setitem(layouts.LAYOUTS, "plain", Importer(lambda source, options: found(source), (), "test"))

    for copy in (False, True):
        dataset = read_dataset(import_("plain", series, tmp_path / f"out{copy}", copy=copy).path)

        assert (dataset.cases[0].image.name == "c0001.nii.gz") is copy
        assert read_image(dataset, dataset.cases[0]).hu.min() < -900


def test_options_are_frozen() -> None:
    with pytest.raises(AttributeError):
        ImportOptions().rater = "other"  # type: ignore[misc]
