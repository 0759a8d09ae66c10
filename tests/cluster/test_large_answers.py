"""Large answers that come at once, packed in a few bytes, fill no process of a real stack."""

import base64
import gzip
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cluster.api import Api, Functions

pytestmark = pytest.mark.cluster

MEBIBYTE: Final = 1 << 20
ITEMS: Final = 30
TEXT_BYTES: Final = 9_900_000
LIMIT: Final = 64 * MEBIBYTE
MOST_MEBIBYTES: Final = 1_000
"""Without bounds it was 1,600 and more."""
WIDE: Final = """
workspace: large
dagName: wide
type: flow
tasks:
  - name: each
    category: foreach
    iterationMapping: {{collection: $.input.items, item: item}}
    inputMappings:
      - {{source: $.context.items, target: $.input.items}}
      - {{source: $.context.replies, target: $.input.replies}}
    tasks:
      - name: work
        category: function
        resourceName: {url}/answer/large
        pattern: task_sync
        inputMappings: [{{source: $.context.replies, target: $.input.replies}}]
"""


def peak_mebibytes(api: Api) -> dict[str, int]:
    """Return what each process of the stack has taken at most."""
    loops = api.ask("GET", "/flow/event_loops.json").body["event_loops"]
    peaks = {}
    for loop in loops:
        lines = Path(f"/proc/{loop['pid']}/status").read_text(encoding="utf-8").splitlines()
        [peak] = [line.split()[1] for line in lines if line.startswith("VmHWM")]
        peaks[loop["process"]] = int(peak) // 1024
    return peaks


def test_a_wide_foreach_of_packed_answers_keeps_some_and_fills_nothing(
    api: Api, functions: Functions
) -> None:
    text = b'{"a":"' + b"x" * TEXT_BYTES + b'"}'
    packed = base64.b64encode(gzip.compress(text)).decode()
    reply = {"base64": packed, "headers": {"Content-Encoding": "gzip"}}
    ended = api.run(WIDE.format(url=functions.url), {"items": [*range(ITEMS)], "replies": [reply]})
    assert ended.status == "FAILED"
    invokes: list[dict[str, Any]] = [
        api.group(ended.execution_id, "each", index)[f"each_{index}-work"]["invoke_msg"]
        for index in range(ITEMS)
    ]
    kept = [invoke for invoke in invokes if "code" not in invoke]
    assert len(kept) == LIMIT // len(text)
    assert all(len(invoke["output"]["a"]) == TEXT_BYTES for invoke in kept)
    refused = {(invoke["code"], invoke["msg"]) for invoke in invokes if "code" in invoke}
    assert refused == {
        (
            "30507",
            f"content length: the outputs of the execution would exceed {LIMIT} bytes together",
        )
    }
    assert all(peak < MOST_MEBIBYTES for peak in peak_mebibytes(api).values())
