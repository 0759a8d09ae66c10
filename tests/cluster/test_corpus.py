"""Recorded workflows come out as they did on the original engine.

``make test`` plays a sample, ``make test-corpus`` (``RILLFLOW_CORPUS=all``) all of them.
"""

import asyncio
import os
from typing import Final

import pytest

from tests.cluster.processes import OwnStack
from tests.corpus.comparison import differences
from tests.corpus.replay import load_cases, replay, report

pytestmark = [pytest.mark.cluster, pytest.mark.corpus]

SAMPLE: Final = 3
"""One in so many cases is in the sample."""
JOBS: Final = 12
HEADER_IS_SENT: Final = ("g0264", "g0414", "g0489", "g0548")
"""The original fails a dispatch with a header value that is not text, and sends nothing;
here the text of the value is sent (spec 4.3), so these go on where it stopped."""


def test_recorded_workflows_have_the_recorded_outcomes(stack: OwnStack) -> None:
    every = 1 if os.environ.get("RILLFLOW_CORPUS") == "all" else SAMPLE
    comparable = [case for case in load_cases() if case["id"] not in HEADER_IS_SENT]
    cases = comparable[::every]
    outcomes = asyncio.run(replay(stack.base_url, cases, jobs=JOBS))
    assert not list(report(cases, outcomes))


def test_a_header_value_that_is_not_text_is_sent_as_its_text(stack: OwnStack) -> None:
    cases = [case for case in load_cases() if case["id"] in HEADER_IS_SENT]
    assert len(cases) == len(HEADER_IS_SENT)
    outcomes = asyncio.run(replay(stack.base_url, cases, jobs=JOBS))
    assert all(differences(case, outcomes[case["id"]]) for case in cases)
    recorded = next(case["expect"] for case in cases if case["id"] == "g0414")
    got = outcomes["g0414"]
    assert recorded["tasks"]["F1"]["status"] == "FAILED"
    assert "F1" not in recorded["calls"]
    assert got["tasks"]["F1"]["status"] == "SUCCEEDED"
    [request] = got["calls"]["F1"]["requests"]
    assert request["headers"]["x-my-b"] == "5"
