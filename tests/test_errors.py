import inspect
import re

import pytest

from medseg import errors
from medseg.errors import InputError, LabelError, MedsegError, UsageError

TREE = [
    member
    for _, member in inspect.getmembers(errors, inspect.isclass)
    if issubclass(member, MedsegError) and member.__module__ == errors.__name__
]


def test_an_error_says_where_what_expected_got_and_what_to_do_in_one_line():
    error = LabelError("unknown value", where="case c001, rater A", expected="0 or 1", got="7", do="Correct the file.")
    assert str(error) == "case c001, rater A: unknown value; expected 0 or 1, got 7. Correct the file."


def test_parts_that_are_not_given_leave_no_trace():
    assert str(UsageError("nothing to do")) == "nothing to do"
    assert str(UsageError("too many", got="3")) == "too many; got 3"


@pytest.mark.parametrize("kind", TREE)
def test_every_error_keeps_its_parts_and_has_an_exit_code(kind):
    error = kind("what", where="where", expected="this", got="that", do="Do it.")
    assert (error.what, error.where, error.expected, error.got, error.do) == ("what", "where", "this", "that", "Do it.")
    assert error.exit_code in (1, 2)


def test_wrong_usage_and_wrong_input_leave_with_code_2_and_a_full_disk_with_1():
    assert (UsageError.exit_code, InputError.exit_code, errors.WriteError.exit_code) == (2, 2, 1)


def test_the_tree_in_the_docstring_names_every_error_once():
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    assert sorted(["MedsegError", *drawn]) == sorted(kind.__name__ for kind in TREE)
