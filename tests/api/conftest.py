"""Served APIs; tests with settings or functions of their own serve one themselves."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.api.serving import Api, served


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with served() as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_api() -> AsyncIterator[Api]:
    """One API for a module whose tests leave no traces; they need a loop of the module."""
    async with served() as opened:
        yield opened
