"""How long the generated tests go on: as short as in every run, or ``RILLFLOW_FUZZ`` times as long.

In every run the examples are the same ones, and half as many as a test asks for; a longer run draws
new ones each time.
"""

import os
from typing import Final

from hypothesis import settings

IS_EVERY_RUN: Final = "RILLFLOW_FUZZ" not in os.environ
_TIMES: Final = int(os.environ.get("RILLFLOW_FUZZ", "1"))
_USUAL: Final = 100


def examples(count: int) -> int:
    """Return how many examples a test draws that asks for ``count``."""
    return count // 2 if IS_EVERY_RUN else count * _TIMES


def load_profile() -> None:
    """Set what tests do that have no settings of their own; others build on it."""
    settings.register_profile(
        "house",
        max_examples=examples(_USUAL),
        derandomize=IS_EVERY_RUN,
        deadline=None,
        database=None,
        print_blob=True,
    )
    settings.load_profile("house")
