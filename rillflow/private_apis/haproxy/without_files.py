"""Serve's manager of HAProxy goes on where its process has no file left.

Serve asks HAProxy for its state once a second, by a connection that needs a file, and replaces
manager and HAProxy when that has failed three times. Whoever fills the port of the manager with
connections, for which nobody needs a certificate, would end all connections of clients so. Here a
HAProxy that runs counts as well while it cannot be asked, and files for a new configuration are
beyond those that such connections take.

Used by `private_apis/forking/fork_server.py`, in the process from which managers are forked.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

from ray.serve._private.haproxy import HAProxyApi, HAProxyManager

from rillflow.listening import has_none_left, some_more
from rillflow.private_apis.assumption import Assumption, missing, not_in_source, other_parameters

_asked: Final = HAProxyApi.is_running
_reload: Final = HAProxyApi.reload


def go_on_without_files() -> None:
    """Patch the API of HAProxy in this process and in its copies."""
    HAProxyApi.is_running = _is_running
    HAProxyApi.reload = _reloaded


async def _is_running(api: Any) -> bool:
    had_none = has_none_left()
    return bool(await _asked(api)) or ((had_none or has_none_left()) and api._is_running())  # noqa: SLF001 - see RELIES_ON


async def _reloaded(api: Any, reload: Callable[[Any], Awaitable[None]] = _reload) -> None:
    with some_more():
        await reload(api)


def _differences() -> Iterator[str]:
    yield from missing(HAProxyApi, "is_running", "_is_running", "reload")
    yield from other_parameters(_asked, "self")
    yield from other_parameters(_reload, "self")
    yield from not_in_source(HAProxyManager.check_health, "self._haproxy.is_running()")


RELIES_ON: Final = (
    Assumption(
        library="ray[serve]",
        relies_on="HAProxyManager.check_health() is HAProxyApi.is_running(), which asks HAProxy by"
        " its socket; reload() writes its configuration and starts another",
        seen_with="2.60.0",
        if_it_changes="silent: who uses up the files of a manager has it and its HAProxy replaced"
        " again and again (tests/cluster/test_ray_tls.py notices)",
        differences=_differences,
    ),
)
