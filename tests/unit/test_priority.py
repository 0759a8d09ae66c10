"""A process that gives way does so with all of its threads."""

import subprocess
import sys
from typing import Final

PROGRAM: Final = """
import os, threading
from rillflow.runtime.process.priority import give_way

def niceness():
    return {os.getpriority(os.PRIO_PROCESS, int(each)) for each in os.listdir("/proc/self/task")}

before, ends = niceness(), threading.Event()
first = threading.Thread(target=ends.wait)
first.start()
given = threading.Thread(target=give_way, args=(5,))
given.start()
given.join()
later = threading.Thread(target=ends.wait)
later.start()
after = niceness()
ends.set()
assert after == {each + 5 for each in before}, (before, after)
"""


def test_each_thread_of_a_process_gives_way_whichever_has_asked_for_it() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)  # noqa: S603 - our own program
