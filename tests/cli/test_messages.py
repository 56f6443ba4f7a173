"""What the command line says when it is called wrongly: one line, exit code 2."""

import pytest

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
