"""A served API for each test; tests with settings or functions of their own serve it themselves."""

from collections.abc import AsyncIterator

import pytest

from tests.api.serving import Api, served


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with served() as opened:
        yield opened
