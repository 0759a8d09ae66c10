"""The whole examination of `rillflow doctor`, in the order in which it is printed.

Used by `cli/commands/doctor.py`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rillflow.cli.doctor import configuration, installation, machine, network
from rillflow.cli.doctor.finding import Finding, error, one_line
from rillflow.cli.inputs import settings_from
from rillflow.errors import RillflowError
from rillflow.gateways.outbound.settings import TlsFiles
from rillflow.settings import Settings
from rillflow.tls_settings import with_own

UNEXPECTED = "report this as a defect of Rillflow, or look whether the part is readable"


def examine(given: Mapping[str, Any], url: str | None) -> Iterator[Finding]:
    """Yield all findings.

    Args:
        given: The options of `rillflow up` that were given; the settings have the others.
        url: Where the server is; None is where the settings say.
    """
    yield from _guarded(installation.VERSIONS, installation.versions)
    try:
        settings = settings_from(given)
    except RillflowError as problem:
        remedy = "correct it: docs/settings.md lists every setting"
        yield error(configuration.SETTINGS, one_line(problem), remedy)
        return
    yield from _guarded(configuration.SETTINGS, configuration.configuration, settings)
    yield from _guarded(configuration.SECRETS, configuration.secrets, settings)
    yield from _guarded(configuration.TLS, configuration.tls, settings)
    yield from _guarded(machine.FOLDERS, machine.folders, settings)
    yield from _guarded(machine.FILES, machine.open_files)
    yield from _of_network(settings, url)
    if not installation.missing_packages():
        from rillflow.cli.doctor import storage

        yield from _guarded(storage.STORE, storage.storage, settings)
        yield from _guarded(installation.INTERNALS, installation.internals)


def _of_network(settings: Settings, url: str | None) -> Iterator[Finding]:
    """Yield what concerns addresses; where a server runs, what it says of itself."""
    base = (url or settings.base_url).rstrip("/")
    tls = with_own(settings)
    alive = network.ask(f"{base}/healthz", tls)
    if alive.is_ours or url is not None:
        yield from _guarded(network.SERVER, lambda: network.server(base, _ready(base, tls)))
        yield from network.clock("the server", alive.ahead_s)
    else:
        yield from _guarded(machine.MEMORY, machine.memory)
        yield from _guarded(machine.PORT, machine.port, settings)
    is_own = alive.is_ours and url is None
    yield from _guarded(network.CALLBACKS, lambda: network.callbacks(settings, is_running=is_own))
    yield from _guarded(network.HOSTS, network.gateway_hosts, settings)


def _ready(base: str, tls: Mapping[str, TlsFiles]) -> network.Answer:
    return network.ask(f"{base}/readyz", tls)


def _guarded(
    area: str, examines: Callable[..., Iterator[Finding]], *arguments: Settings
) -> Iterator[Finding]:
    """Yield findings of one part; what cannot be examined is an error, and the rest goes on."""
    try:
        yield from examines(*arguments)
    except Exception as problem:  # noqa: BLE001 - the other parts are told in any case
        yield error(area, f"it cannot be examined: {one_line(problem)}", UNEXPECTED)
