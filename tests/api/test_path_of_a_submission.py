"""A submission passes a dozen modules of ``serve`` at most before its owner is asked."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

from tests.api.definition_texts import PASS
from tests.api.serving import served

ROOT: Final = f"{Path(__file__).parents[2]}/"
OWNER: Final = "rillflow/runtime/local.py"
"""Where the call of the owner begins, in a stack without Ray."""
PASSED: Final = (
    "serve/middleware/request_lines.py",
    "serve/middleware/api_key.py",
    "serve/middleware/browsers.py",
    "serve/limits/body_pool.py",
    "serve/routes/hot.py",
    "serve/limits/large_answers.py",
    "serve/forms/parameters.py",
    "serve/forms/submission.py",
    "serve/forms/bodies.py",
    "serve/limits/body_limits.py",
)
"""In the order in which they are entered."""


@contextmanager
def entered() -> Iterator[list[str]]:
    """Note the modules of this repository that functions are called in, each once."""
    modules: list[str] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_name != "<module>" and code.co_filename.startswith(ROOT):
            name = code.co_filename.removeprefix(ROOT)
            if name not in modules:
                modules.append(name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield modules
    finally:
        sys.setprofile(before)


async def test_a_submission_passes_these_modules_before_its_owner_is_asked() -> None:
    async with served() as api:
        await api.add(PASS)
        await api.submit("shop:order")  # reads and compiles the definition
        with entered() as modules:
            await api.submit("shop:order")
    before_owner = modules[: modules.index(OWNER)]
    assert tuple(name for name in before_owner if name.startswith("serve/")) == PASSED
    assert len(PASSED) <= 12
