"""What processes log can be read where Ray keeps the logs, with the facts that belong to it."""

import time
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.api import LOOK_S, WAIT_S, Api
from tests.cluster.processes import OwnStack, noted, workers

pytestmark = pytest.mark.cluster

PASSED_OVER: Final = """
workspace: logs
dagName: passedOver
type: flow
tasks:
  - name: only
    category: pass
    inputMappings: [{ source: $.context.n, target: "$.input[?(" }]
"""


def test_a_line_of_the_log_tells_what_and_about_which_execution(stack: OwnStack, api: Api) -> None:
    ended = api.run(PASSED_OVER, {"n": 1})
    logs = Path(noted(stack.data_dir, "logs_dir"))
    give_up = time.monotonic() + WAIT_S
    while not (lines := _lines_about(logs, f'execution_id="{ended.execution_id}"')):
        assert time.monotonic() < give_up, "nothing was logged"
        time.sleep(LOOK_S)
    [line] = lines
    assert " WARNING rillflow.mappings mapping_passed_over " in line
    assert ' task="only" ' in line


def test_workers_write_to_files_in_which_places_stay_and_ray_keeps_few_earlier_logs(
    stack: OwnStack,
) -> None:
    logs = Path(noted(stack.data_dir, "logs_dir"))
    found = workers(stack.pid, "ExecutionActor")
    assert found
    for pid in found:
        for number in (1, 2):
            file = Path(f"/proc/{pid}/fd/{number}").readlink()
            assert (file.name.startswith("worker-"), file.is_file()) == (True, True)
            assert (logs / file.name).samefile(file)
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert b"RAY_ROTATION_BACKUP_COUNT=1" in environment


def _lines_about(logs: Path, fact: str) -> list[str]:
    texts = (log.read_text(encoding="utf-8") for log in logs.glob("worker-*.err"))
    return [line for text in texts for line in text.splitlines() if fact in line]
