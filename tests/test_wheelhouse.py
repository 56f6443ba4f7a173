import hashlib

import pytest

from tools.wheelhouse import requirements


def wheels(folder, *names):
    for name in names:
        (folder / name).write_bytes(name.encode())
    return folder


def test_every_wheel_gets_a_pinned_line_with_its_hash(tmp_path):
    names = ("torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl", "medseg-0.1.0-py3-none-any.whl")
    lines = requirements(wheels(tmp_path, *names)).splitlines()
    hashes = [hashlib.sha256(name.encode()).hexdigest() for name in names]
    assert lines[2:] == [f"medseg==0.1.0 --hash=sha256:{hashes[1]}", f"torch==2.13.0+cpu --hash=sha256:{hashes[0]}"]


def test_the_extras_are_noted_so_that_the_right_stamps_are_set(tmp_path):
    text = requirements(wheels(tmp_path, "medseg-0.1.0-py3-none-any.whl"), "test,dev")
    assert text.splitlines()[1] == "# extras: test,dev"


def test_a_folder_without_medseg_is_refused(tmp_path):
    with pytest.raises(ValueError, match="1 wheels, none of them medseg's"):
        requirements(wheels(tmp_path, "numpy-2.4.6-cp311-cp311-win_amd64.whl"))


def test_two_versions_of_one_package_are_refused(tmp_path):
    names = ("medseg-0.1.0-py3-none-any.whl", "scikit_image-1-py3-none-any.whl", "scikit_image-2-py3-none-any.whl")
    with pytest.raises(ValueError, match="more than one wheel of scikit-image"):
        requirements(wheels(tmp_path, *names))
