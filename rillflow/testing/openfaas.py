"""The OpenFaaS double as a process of its own.

::

    python -m rillflow.testing.openfaas --port 8081 --functions examples/functions.py

Used by `cli/commands/serving.py`.
"""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

from rillflow.function_calls.loading import load_named
from rillflow.testing.function_gateway import FakeOpenFaaS
from rillflow.testing.functions import Function, FunctionAnswer, FunctionRequest, Handler

__all__ = [
    "FakeOpenFaaS",
    "Function",
    "FunctionAnswer",
    "FunctionRequest",
    "load_functions",
    "main",
]

MAPPING: Final = "FUNCTIONS"
"""Name of the mapping that a functions module is expected to hold."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve functions until the process is told to end.

    The first line on standard output names the address, once it answers.

    Args:
        arguments: Command line; that of the process when None.
    """
    parser = argparse.ArgumentParser(
        prog="python -m rillflow.testing.openfaas", description="Serve functions as OpenFaaS does."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8081, help="0 for any free one")
    parser.add_argument(
        "--functions",
        action="append",
        default=[],
        metavar="MODULE[:MAPPING]",
        help="module or .py file with a dict of functions by name, FUNCTIONS unless named; "
        "values are callables, Function objects or URLs; may be given several times",
    )
    parser.add_argument("--quiet", action="store_true", help="no line for each call")
    given = parser.parse_args(arguments)
    functions: dict[str, Function | Handler | str] = {}
    for text in given.functions:
        try:
            functions.update(load_functions(text))
        except (ImportError, AttributeError, OSError, TypeError) as error:
            parser.error(f"--functions {text}: {error}")
    asyncio.run(serve(functions, host=given.host, port=given.port, quiet=given.quiet))


def load_functions(text: str) -> Mapping[str, Function | Handler | str]:
    """Load a mapping of functions from ``module[:MAPPING]`` or ``path/file.py[:MAPPING]``.

    Raises:
        ImportError: There is no such module.
        OSError: There is no such file.
        AttributeError: The module has no such mapping.
        TypeError: What has that name is no mapping.
    """
    functions = load_named(text, MAPPING)
    if not isinstance(functions, Mapping):
        raise TypeError(f"{text.partition(':')[2] or MAPPING} is not a mapping")
    return functions


async def serve(
    functions: Mapping[str, Function | Handler | str],
    *,
    host: str,
    port: int,
    quiet: bool = False,
    callback_patience_s: float = 0.0,
) -> None:
    """Run the stand-in until SIGINT or SIGTERM.

    Unless ``quiet``, a line on standard error tells of each call when it is over. A callback
    that nobody takes is sent again for ``callback_patience_s``.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    tell = None if quiet else _tell
    gateway = FakeOpenFaaS(functions, host=host, port=port, record=False, tell=tell)
    gateway.callback_patience_s = callback_patience_s
    async with gateway:
        sys.stdout.write(f"function gateway at {gateway.url}: {', '.join(sorted(functions))}\n")
        sys.stdout.flush()
        await stopped.wait()


def _tell(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
