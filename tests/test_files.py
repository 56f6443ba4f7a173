import errno
import os
import subprocess
import sys

import pytest

from medseg.errors import OutputExistsError, UsageError, WriteError
from medseg.files import MARKER, atomic_path, open_output_folder, remove_leftovers, replaced_folder, write_text


def test_a_written_file_holds_the_text_and_leaves_nothing_else(tmp_path):
    write_text(tmp_path / "new" / "run.json", "für alle")
    assert (tmp_path / "new" / "run.json").read_text(encoding="utf-8") == "für alle"
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["run.json"]


def test_the_temporary_name_keeps_the_suffixes_that_libraries_choose_a_format_by(tmp_path):
    with atomic_path(tmp_path / "c001.nii.gz") as temporary:
        temporary.touch()
        assert temporary.name.endswith(".nii.gz")
        assert temporary.parent == tmp_path


def test_a_full_disk_inside_the_block_leaves_the_old_file(tmp_path):
    path = tmp_path / "mask.nii.gz"
    path.write_text("old")
    with pytest.raises(WriteError, match=r"^mask.nii.gz: could not write: No space left on device"):  # noqa: SIM117
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_at_the_flush_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "last.safetensors"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_any_other_failure_leaves_the_old_file_and_keeps_its_own_name(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_place_of_a_folder_is_a_write_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="could not write"):
        write_text(tmp_path / "file" / "inside.txt", "text")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on a process's file size")
def test_a_real_limit_of_the_operating_system_leaves_the_old_file(tmp_path):
    path = tmp_path / "big.txt"
    path.write_text("old")
    script = (
        "import resource, signal, sys\n"
        "from medseg.errors import WriteError\n"
        "from medseg.files import write_text\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_text(sys.argv[1], 'x' * 100_000)\n"
        "except WriteError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-B", "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("big.txt: could not write: File too large")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_output_folder_is_empty_but_for_the_marker(tmp_path):
    folder = open_output_folder(tmp_path / "runs" / "first")
    assert [entry.name for entry in folder.iterdir()] == [MARKER]
    assert open_output_folder(folder) == folder


def test_a_folder_that_holds_a_result_is_refused_and_kept(tmp_path):
    folder = open_output_folder(tmp_path / "run")
    (folder / "recipe.yaml").write_text("model: unet")
    with pytest.raises(OutputExistsError, match=r"^run: the output folder is not empty\. .*--overwrite"):
        open_output_folder(folder)
    assert (folder / "recipe.yaml").read_text() == "model: unet"


def test_overwrite_replaces_what_medseg_made(tmp_path):
    folder = open_output_folder(tmp_path / "run")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "best.json").write_text("{}")
    open_output_folder(folder, overwrite=True)
    assert [entry.name for entry in folder.iterdir()] == [MARKER]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_the_users_own_is_never_emptied(tmp_path, overwrite):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputExistsError):
        open_output_folder(tmp_path, overwrite=overwrite)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_overwrite_removes_a_link_but_not_what_it_points_to(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "scan.nii").write_text("voxels")
    folder = open_output_folder(tmp_path / "run")
    (folder / "link").symlink_to(tmp_path / "data", target_is_directory=True)
    open_output_folder(folder, overwrite=True)
    assert not (folder / "link").exists()
    assert (tmp_path / "data" / "scan.nii").read_text() == "voxels"


def test_an_output_that_is_a_file_is_wrong_usage(tmp_path):
    (tmp_path / "out").write_text("text")
    with pytest.raises(UsageError, match="expected a folder"):
        open_output_folder(tmp_path / "out", overwrite=True)


def test_a_folder_that_cannot_be_made_is_a_write_error_without_its_path(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError) as caught:
        open_output_folder(tmp_path / "file" / "run")
    assert str(tmp_path) not in str(caught.value)


def test_temporary_files_of_killed_writes_are_removed_and_nothing_else(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    left = [tmp_path / ".recipe-0123abcd.yaml", tmp_path / "checkpoints" / ".last-89abcdef.safetensors"]
    kept = [tmp_path / MARKER, tmp_path / ".notes-of-mine.txt", tmp_path / "checkpoints" / "last-89abcdef.json"]
    for path in left + kept:
        path.touch()

    assert remove_leftovers(tmp_path) == 2
    assert [path.exists() for path in left + kept] == [False, False, True, True, True]


def test_a_run_never_replaces_a_data_set(tmp_path):
    folder = open_output_folder(tmp_path / "data", kind="data set")
    (folder / "image.nii.gz").touch()

    with pytest.raises(OutputExistsError, match=r"another kind .*expected a run folder, got a data set folder"):
        open_output_folder(folder, kind="run", overwrite=True)

    assert (folder / "image.nii.gz").exists()


def test_a_failed_replacement_leaves_the_old_result_and_nothing_else(tmp_path):
    folder = open_output_folder(tmp_path / "predictions", kind="predictions")
    (folder / "old.nii.gz").touch()

    with (
        pytest.raises(ValueError, match="unreadable"),
        replaced_folder(folder, kind="predictions", overwrite=True) as staging,
    ):
        (staging / "new.nii.gz").touch()
        raise ValueError("unreadable")

    assert [path.name for path in tmp_path.iterdir()] == ["predictions"]
    assert {path.name for path in folder.iterdir()} == {MARKER, "old.nii.gz"}


def test_a_finished_replacement_holds_the_new_result_alone(tmp_path):
    folder = open_output_folder(tmp_path / "predictions", kind="predictions")
    (folder / "old.nii.gz").touch()

    with replaced_folder(folder, kind="predictions", overwrite=True) as staging:
        (staging / "new.nii.gz").touch()

    assert [path.name for path in tmp_path.iterdir()] == ["predictions"]
    assert {path.name for path in folder.iterdir()} == {MARKER, "new.nii.gz"}


def test_the_leftover_of_a_killed_checkpoint_is_removed_and_a_users_hidden_file_is_not(tmp_path):
    for name in (".tmp75cR78", ".tmp_notes", ".tmp75cR7", ".config"):
        (tmp_path / name).touch()
    assert remove_leftovers(tmp_path) == 1
    assert not (tmp_path / ".tmp75cR78").exists()
