"""Processes of a stack may have few files open, and do without more for a while."""

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.serve._private.haproxy import HAProxyApi

from rillflow.listening import MORE, allow, allow_at_most, has_none_left, some_more
from rillflow.private_apis.forking.forked_worker import FEW_FILES, have_few_files
from rillflow.private_apis.haproxy.without_files import _reloaded, go_on_without_files
from rillflow.runtime.process.machine_memory import memory_bytes
from serve.stack.few_files import FEWEST, begin_with_few_files, few_files
from tests.files_used_up import no_file_left

GIB = 1 << 30


@pytest.fixture(name="limit", autouse=True)
def _limit() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(name="api")
def _api(tmp_path: Path) -> Iterator[HAProxyApi]:
    """One whose HAProxy runs, and answers nobody."""
    is_running, reload = HAProxyApi.is_running, HAProxyApi.reload
    go_on_without_files()
    api = HAProxyApi.__new__(HAProxyApi)
    api.cfg = SimpleNamespace(socket_path=str(tmp_path / "admin.sock"))
    api._proc = SimpleNamespace(returncode=None)
    yield api
    HAProxyApi.is_running, HAProxyApi.reload = is_running, reload


def test_a_process_has_few_files_until_it_asks_for_more() -> None:
    allow_at_most(300)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 300
    allow_at_most(400)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 300
    assert allow(200) == 300
    assert allow(400) == 400


def test_nobody_gets_more_files_than_there_may_be(limit: tuple[int, int]) -> None:
    allow_at_most(300)
    assert allow(1 << 40 if limit[1] < 0 else limit[1] + 1) == limit[1] or limit[1] < 0


def test_connections_of_a_process_take_little_of_the_memory() -> None:
    assert few_files(None) == few_files(2 * GIB) == few_files(16 * GIB) == FEWEST
    assert few_files(128 * GIB) == 4 * FEWEST


def test_a_worker_that_the_raylet_starts_itself_has_no_more_files_than_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The raylet has more, and what a process starts has as many as it."""
    monkeypatch.setenv(FEW_FILES, "before")
    begin_with_few_files()
    assert os.environ[FEW_FILES] == str(few_files(memory_bytes()))
    monkeypatch.setenv(FEW_FILES, "300")
    have_few_files()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 300
    monkeypatch.delenv(FEW_FILES)
    have_few_files()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 300


def test_some_files_more_than_were_used_up() -> None:
    with no_file_left(), ExitStack() as opened:
        assert has_none_left()
        with some_more():
            for _ in range(MORE // 2):
                opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        assert has_none_left()
        with some_more():
            assert not has_none_left()


def test_who_has_files_gets_no_more() -> None:
    allow_at_most(2_000)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with some_more():
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
        allow_at_most(1_000)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1_000, "it is not given back"


async def test_a_haproxy_that_cannot_be_asked_for_want_of_a_file_runs(api: HAProxyApi) -> None:
    assert not await api.is_running()
    with no_file_left():
        assert await api.is_running()
        api._proc.returncode = 1
        assert not await api.is_running()


async def test_a_haproxy_gets_its_next_configuration_without_a_file_left(api: HAProxyApi) -> None:
    async def reload(_: HAProxyApi) -> None:
        os.close(os.open(os.devnull, os.O_RDONLY))

    assert HAProxyApi.reload is _reloaded
    with no_file_left():
        with pytest.raises(OSError, match="Too many open files"):
            await reload(api)
        await _reloaded(api, reload)
