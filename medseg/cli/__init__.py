"""The command line: parses, calls a workflow, prints. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from medseg.cli import augment, data, judge, learn, runs, validate
from medseg.cli.options import with_ray_alone
from medseg.errors import MedsegError, UsageError

# what requirements-light.txt leaves out
NOT_LIGHT = ("torch", "monai", "einops", "numba", "blosc2", "safetensors", "psutil", "tensorboard")
app = typer.Typer(
    name="medseg",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="CT segmentation that learns from several experts and is judged against them.",
    epilog="Errors are one line; add --debug for the traceback. No patient data leaves this machine.",
)

for command in (
    data.phantom,
    data.check,
    data.convert,
    data.import_,
    data.export,
    augment.augment_preview,
    learn.plan,
    learn.preprocess,
    learn.train,
    runs.runs,
    validate.validate,
    learn.predict,
    runs.masks,
    augment.invariance,
    judge.evaluate,
    judge.agree,
    judge.register,
    judge.figure,
    learn.demo,
):
    app.command(name=command.__name__.rstrip("_").replace("_", "-"))(command)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options that stand before the command; --debug may stand anywhere."""
    if version:
        from importlib.metadata import version as installed

        print(installed("medseg"))
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; an expected failure is one line on standard error and the error's exit code."""
    given = with_ray_alone(list(sys.argv[1:] if arguments is None else arguments))
    debug = "--debug" in given
    try:
        sys.exit(app([text for text in given if text != "--debug"], prog_name="medseg", standalone_mode=False) or 0)
    except typer.TyperException as error:
        _refuse(error)
    except typer.Abort:
        sys.exit(130)
    except MedsegError as error:
        if debug:
            raise
        if len(error.outcomes) > 1:
            _show_set_aside(error)
        word = "usage error" if isinstance(error, UsageError) else "error"
        print(f"medseg: {word}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if debug or error.name not in NOT_LIGHT:
            raise
        print(f"medseg: usage error: this command needs {error.name}, which the light installation leaves out. "
              "Install everything: pip install -c constraints.txt -e .", file=sys.stderr)  # fmt: skip
        sys.exit(UsageError.exit_code)


def _show_set_aside(error: MedsegError) -> None:
    """The table of what was done, kept and set aside."""
    from medseg import workflows
    from medseg.cli.screen import show

    show(workflows.summary_table(error.outcomes, title="Summary", name=lambda item: str(getattr(item, "id", item))))


def _refuse(error: typer.TyperException) -> None:
    """One line for a command that does not exist, or an option that is missing or cannot be read."""
    message = " ".join(getattr(error, "format_message", error.__str__)().split())
    command = getattr(getattr(error, "ctx", None), "command_path", "medseg")
    if message:  # without one, the help has been printed
        end = "" if message[-1] in ".?" else "."
        print(f"medseg: usage error: {message}{end} Try '{command} -h'.", file=sys.stderr)
    sys.exit(UsageError.exit_code)
