"""A hook that ends its process in the midst of some work, as a fault in native code does."""

import os
import signal
from pathlib import Path

from rillflow.runtime.hooks.chain import Action, Moment

DEATHS_FILE = "FATAL_HOOK_DEATHS"
"""Environment variable with the file that gets a line for each death."""


def die(moment: Moment, execution_id: str, task: str, proceed: Action) -> None:
    """End the process when a task is fatal: when it is called, or when its answer comes."""
    if (moment, task) in {(Moment.RUN, "fatalCall"), (Moment.TRAVERSAL, "fatalAnswer")}:
        with Path(os.environ[DEATHS_FILE]).open("a", encoding="utf-8") as deaths:
            deaths.write(f"{execution_id}\n")
        os.kill(os.getpid(), signal.SIGKILL)
    proceed()
