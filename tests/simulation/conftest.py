"""Tests of the simulation make many objects and few circles, so garbage is collected less often."""

import gc
from collections.abc import Iterator

import pytest

from tests.simulation.__main__ import COLLECTED


@pytest.fixture(autouse=True, scope="module")
def _few_collections() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(COLLECTED)
    yield
    gc.set_threshold(*before)
