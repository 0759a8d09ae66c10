"""How long the generated tests go on: as short as in every run, or ``RILLFLOW_FUZZ`` times as long.

In every run the examples are the same ones, and a quarter of what a test asks for. Once as many as
it asks for (``make test-long``) are the same ones each time too; more of them (``make fuzz``) are
new ones each time.
"""

import os
from typing import Final

from hypothesis import HealthCheck, settings

IS_EVERY_RUN: Final = "RILLFLOW_FUZZ" not in os.environ
_TIMES: Final = int(os.environ.get("RILLFLOW_FUZZ", "1"))
DRAWS_NEW: Final = _TIMES > 1
_USUAL: Final = 100


def examples(count: int) -> int:
    """Return how many examples a test draws that asks for ``count``."""
    return count // 4 if IS_EVERY_RUN else count * _TIMES


def load_profile() -> None:
    """Set what tests do that have no settings of their own; others build on it."""
    settings.register_profile(
        "house",
        max_examples=examples(_USUAL),
        derandomize=not DRAWS_NEW,
        deadline=None,
        database=None,
        # How long drawing takes depends on what else the machine does.
        suppress_health_check=[HealthCheck.too_slow],
        print_blob=True,
    )
    settings.load_profile("house")
