"""Refusals while a flow is traced, with the place in the author's module.

Used by `flow`.
"""

import sys
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Final

from rillflow.errors import FlowError

TRACED: Final = "traced_function"
"""The variable that has the function of the flow, where it is traced."""
_HERE: Final = str(Path(__file__).parent)


def refusal(message: str) -> FlowError:
    """Return the error of something that a flow cannot say, with the author's file and line.

    Where the function of the flow has returned already, that is where it begins.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the caller's line, and nothing else
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        function = frame.f_locals.get(TRACED)
        if isinstance(function, FunctionType):
            return _at(function.__code__, function.__code__.co_firstlineno, message)
        frame = frame.f_back
    return FlowError(message) if frame is None else _at(frame.f_code, frame.f_lineno, message)


def _at(code: CodeType, line: int, message: str) -> FlowError:
    return FlowError(f"{Path(code.co_filename).name}:{line}: {message}")
