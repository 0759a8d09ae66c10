"""Errors as one clear line and an exit code; a traceback only of a defect of the command line.

Used by `cli` and `cli/commands`.
"""

import os
import signal
import sys
import traceback
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from rillflow.cli.visible import say, visible, visible_line
from rillflow.errors import (
    DefinitionError,
    ExecutionFailedError,
    RequestError,
    RillflowError,
    UnreachableError,
)
from rillflow.extras import missing_extra
from rillflow.plain_words import in_plain_words, of_task_in_plain_words

if TYPE_CHECKING:
    from rillflow.client.executions import Execution

FAILURE: Final = 1
KEY_VARIABLE: Final = "RILLFLOW_API_KEY"
READER_GONE: Final = 128 + signal.SIGPIPE
"""What a shell sees of a program that wrote to a pipe that nobody reads any more."""


class ReportingGroup(TyperGroup):
    """A group of commands that reports what they raise on purpose."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            stop_writing()
            raise typer.Exit(READER_GONE) from error
        except ModuleNotFoundError as error:
            missing = missing_extra(error)
            if missing is error:
                raise
            report(missing)
            raise typer.Exit(FAILURE) from error
        except (RillflowError, OSError) as error:
            report(error)
            raise typer.Exit(FAILURE) from error
        except typer.BadParameter as error:
            # Typer writes it to the terminal; it may repeat what a file or an exception says.
            error.message = visible(error.message)
            raise
        except (TyperException, typer.Exit, typer.Abort):
            raise
        except Exception as error:
            say(traceback.format_exc().rstrip(), err=True)
            raise typer.Exit(FAILURE) from error


def stop_writing() -> None:
    """Give up standard output: what is still in its buffer would fail again at the exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def report(error: Exception, about: str = "") -> None:
    """Write an error to standard error as one line; a definition's problems get a line each.

    ``about`` names what it is about, where that is one of several and the text does not say.
    """
    several = isinstance(error, DefinitionError) and len(error.problems) > 1
    text = _about_the_key(error) or _text(error)
    place = f"{about}: " if about and about not in text else ""
    hint = "" if several else getattr(error, "hint", "")
    if isinstance(error, UnreachableError) and not hint:
        hint = (
            "rillflow up starts a server here; `serve status` tells of one on a Ray cluster;"
            " --url or RILLFLOW_URL names another address"
        )
    line = place + with_hint(text, hint)
    say(visible_line(line), err=True, label="error:", colour="red")
    if isinstance(error, DefinitionError) and several:
        for problem in error.problems:
            where = f"line {problem.line}, column {problem.column}: " if problem.line else ""
            said = with_hint(problem.message, problem.hint)
            say(f"  {where}{visible_line(said)}", err=True)


def tell_failure(execution: "Execution") -> None:
    """Write in which tasks an execution has failed, and why, as who waits for its result is told.

    That it failed is known already, so an answer that does not come any more is no error.
    """
    try:
        execution.result(timeout_s=0, patience_s=0)
    except ExecutionFailedError as error:
        report(error)
    except RillflowError:
        return


def with_hint(message: str, hint: str) -> str:
    """Return a message with its hint; for one of Rill Flow's only what it means in plain words."""
    plain = in_plain_words(message)
    if plain is None:
        return f"{message} ({hint})" if hint else message
    return f"{plain} ({hint})" if hint not in ("", plain) else plain


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    text = str(error)
    if isinstance(error, ExecutionFailedError) and error.reason and text.endswith(error.reason):
        return text.removesuffix(error.reason) + of_task_in_plain_words(error.reason)
    return text


def _about_the_key(error: Exception) -> str:
    """Say what to do about a key that is missing or wrong; empty for any other error.

    The server speaks of headers, which the command line sends by itself.
    """
    if not isinstance(error, RequestError) or error.http_status != HTTPStatus.UNAUTHORIZED:
        return ""
    if os.environ.get(KEY_VARIABLE, "").strip():
        return f"the API key in {KEY_VARIABLE} is wrong"
    return (
        f"the server asks for an API key: set {KEY_VARIABLE}; only the key of a stack that you run"
        " on this machine with rillflow up --key is found without it"
    )
