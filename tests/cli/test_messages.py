"""What the command line says when it is called wrongly: one line, exit code 2."""

import pytest

from medseg import workflows
from medseg.cli import main


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_an_unknown_command_is_one_line_with_a_suggestion(capsys):
    assert "'agree'" in refused(["agre"], capsys)


def test_an_unknown_option_names_itself_and_where_help_is(capsys):
    line = refused(["agree", "--foo"], capsys)
    assert line.startswith("medseg: usage error:") and "--foo" in line and "medseg agree -h" in line


def test_a_missing_argument_is_named(capsys):
    assert "RECIPE.yaml" in refused(["train"], capsys)


def test_a_word_in_place_of_a_number_names_the_option(capsys):
    assert "--jobs" in refused(["check", "nowhere", "--jobs", "many"], capsys)


def test_the_version_ends_with_exit_code_0(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert not end.value.code and capsys.readouterr().out.strip()


@pytest.mark.parametrize("arguments", [["--ray", "--out", "X"], ["--out", "X", "--ray"]])
def test_ray_alone_is_ray_on_this_machine(arguments, monkeypatch):
    asked: dict[str, object] = {}
    monkeypatch.setitem(vars(workflows), "predict", lambda *_, **options: asked.update(options))

    with pytest.raises(SystemExit) as end:
        main(["predict", "RUN", "my-data", *arguments])

    assert not end.value.code and (asked["ray"], asked["jobs"]) == ("local", None)


def test_what_follows_ray_and_is_no_option_is_its_address(capsys, monkeypatch):
    asked: dict[str, object] = {}
    monkeypatch.setitem(vars(workflows), "predict", lambda *_, **options: asked.update(options))

    with pytest.raises(SystemExit):
        main(["predict", "RUN", "my-data", "--ray", "10.0.0.5:6379", "--jobs", "64", "--out", "X"])

    assert (asked["ray"], asked["jobs"]) == ("10.0.0.5:6379", 64)
