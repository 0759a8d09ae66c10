"""The registry finds who makes a call: plugin, protocol or scheme (spec 4.1, 4.7)."""

import asyncio
import importlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rillflow.errors import GatewayError
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.gateways.plugins.gateway import DispatchInfo, Resource
from rillflow.gateways.plugins.loading import named_plugins
from rillflow.gateways.registry import GatewayRegistry
from rillflow.jsontypes import decode_json, encode_json
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from tests.loopback import NOW_MS, PATIENT_S, StoppedClock, attempt, echo, web_server

ECHO_PLUGIN = Path(__file__).parents[2] / "examples" / "plugins" / "rillflow_echo"
SETTINGS = HttpSettings(call_timeout_s=PATIENT_S)


def http_registry(**changes: Any) -> GatewayRegistry:
    return GatewayRegistry.with_http(SETTINGS, StoppedClock(), **({"discover": False} | changes))


class Recorder:
    """A gateway that remembers what it was asked, and whether it was closed."""

    def __init__(self) -> None:
        self.requests: list[DispatchRequest] = []
        self.closed = 0

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        self.requests.append(request)
        return DispatchAnswer(
            execution_id=request.execution_id, task=request.task, attempt=request.attempt
        )

    async def close(self) -> None:
        self.closed += 1


class Plugin:
    """A plugin that answers with what its function returns."""

    def __init__(self, function: Any, name: str = "mine") -> None:
        self.name = name
        self.handle = function


async def call_plugin(function: Any, **changes: Any) -> DispatchAnswer:
    registry = http_registry()
    registry.add_plugin(Plugin(function))
    try:
        return await registry.call(attempt("mine://value", **changes))
    finally:
        await registry.close()


# --- choosing -----------------------------------------------------------------


async def test_the_protocol_of_the_resource_counts_before_its_scheme() -> None:
    registry, http, other = GatewayRegistry(SETTINGS, StoppedClock()), Recorder(), Recorder()
    registry.register("http", http)
    registry.register("other", other)
    await registry.call(attempt("http://h/a"))
    await registry.call(attempt("http://h/b", resource_protocol="other"))
    await registry.call(attempt("other://c", resource_protocol=" "))
    assert [request.resource_name for request in http.requests] == ["http://h/a"]
    assert [request.resource_name for request in other.requests] == ["http://h/b", "other://c"]


@pytest.mark.case("E2E-28")
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"resource_name": "foo://x"}, "handle functionPattern protocol: foodo not support"),
        ({"resource_name": "x"}, "handle functionPattern protocol: do not support"),
        ({"resource_name": "HTTP://x"}, "handle functionPattern protocol: HTTPdo not support"),
        ({"resource_name": ""}, "handle functionPattern null"),
        ({"resource_name": "function://x"}, "scheme protocol:function unsupported"),
        ({"resource_name": "resource://x"}, "function resource null"),
        ({"resource": b"null"}, "function resource null"),
        ({"resource": b'{"category":"c"}'}, "function resource category: cdo not support"),
        ({"resource": b'{"name":"n"}'}, "function resource category: nulldo not support"),
    ],
)
async def test_a_resource_that_nobody_serves_is_an_answer(
    changes: dict[str, Any], error: str
) -> None:
    registry = http_registry()
    answer = await registry.call(attempt("http://h/", **changes))
    assert answer.error == error
    assert (answer.execution_id, answer.task, answer.attempt) == ("b:f_c_1", "A", 1)


async def test_http_is_built_in() -> None:
    registry = http_registry()
    async with web_server(echo=echo) as url:
        answer = await registry.call(attempt(f"{url}/echo"))
        await registry.close()
    assert answer.http_status == 200


async def test_a_gateway_that_raises_fails_the_attempt() -> None:
    class Raising(Recorder):
        async def call(self, request: DispatchRequest) -> DispatchAnswer:
            raise LookupError(request.task)

    registry = GatewayRegistry(SETTINGS, StoppedClock())
    registry.register("rillflow", Raising())
    assert (await registry.call(attempt("rillflow://b:f"))).error == "handle fails: A"


async def test_closing_closes_every_gateway_once() -> None:
    class Stubborn(Recorder):
        async def close(self) -> None:
            raise OSError("no")

    registry, gateway = GatewayRegistry(SETTINGS, StoppedClock()), Recorder()
    registry.register("stubborn", Stubborn())
    registry.register("a", gateway)
    registry.register("b", gateway)
    await registry.close()
    assert gateway.closed == 1


# --- plugins ------------------------------------------------------------------


async def test_a_plugin_sees_the_resource_the_input_and_the_headers() -> None:
    seen: list[tuple[Resource, DispatchInfo]] = []

    async def handle(resource: Resource, info: DispatchInfo) -> str:
        seen.append((resource, info))
        return "{}"

    text = encode_json({"a": 1, "generate_auth": True})
    answer = await call_plugin(handle, input=text, pattern="task_async", attempt=3)
    resource, info = seen[0]
    assert answer.body == b"{}"
    assert resource == Resource(
        resource_name="mine://value", scheme_protocol="mine", scheme_value="value"
    )
    assert (info.execution_id, info.task_name, info.attempt) == ("b:f_c_1", "A", 3)
    assert info.input == {"a": 1}
    assert info.headers["X-Mode"] == "async"
    assert f"ts={NOW_MS}" in info.headers["X-Callback-Url"]
    assert "sign=" in info.headers["X-Callback-Url"]


@pytest.mark.parametrize(
    ("answer", "body"),
    [("text", b"text"), ("", None), (None, None), (b"raw", b"raw"), ({"a": 1}, b'{"a":1}')],
)
async def test_what_a_plugin_returns_is_the_answers_body(answer: object, body: bytes) -> None:
    async def in_loop(*_: Any) -> object:
        return answer

    def in_thread(*_: Any) -> object:
        return answer

    for function in (in_loop, in_thread):
        given = await call_plugin(function)
        assert (given.body, given.error) == (body, None)


async def test_a_plain_function_runs_in_a_thread_and_may_return_a_coroutine() -> None:
    threads: list[threading.Thread] = []

    async def later() -> str:
        return "late"

    def handle(*_: Any) -> object:
        threads.append(threading.current_thread())
        return later()

    assert (await call_plugin(handle)).body == b"late"
    assert threads[0] is not threading.current_thread()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no ink"), "handle fails: no ink"),
        (ValueError(), "handle fails: ValueError"),
        (SystemExit(1), "handle fails: the plugin tried to end the process"),
        (asyncio.CancelledError(), "handle fails: the call was cancelled"),
        (GatewayError("plain"), "plain"),
    ],
)
async def test_a_plugin_that_raises_fails_the_attempt(error: BaseException, message: str) -> None:
    async def in_loop(*_: Any) -> str:
        raise error

    def in_thread(*_: Any) -> str:
        raise error

    for function in (in_loop, in_thread):
        assert (await call_plugin(function)).error == message


async def test_a_plugin_that_stops_iteration_fails_the_attempt() -> None:
    def handle(*_: Any) -> object:
        return next(iter(()))

    assert (await call_plugin(handle)).error is not None


async def test_an_answer_that_is_no_json_fails_the_attempt() -> None:
    async def handle(*_: Any) -> object:
        return object()

    answer = await call_plugin(handle)
    assert answer.error is not None
    assert answer.error.startswith("handle fails: ")


async def test_a_plugin_that_hangs_is_cut_off() -> None:
    release = threading.Event()

    async def in_loop(*_: Any) -> None:
        await asyncio.Event().wait()

    async def deaf(*_: Any) -> None:
        for _attempt in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    def in_thread(*_: Any) -> None:
        release.wait()

    for function in (in_loop, deaf, in_thread):
        answer = await call_plugin(function, timeout_s=0.05)
        assert answer.error == "timeout"
    release.set()


async def test_a_plugin_shadows_what_is_built_in() -> None:
    async def handle(*_: Any) -> str:
        return "shadow"

    registry = http_registry()
    registry.add_plugin(Plugin(handle, name="http"))
    registry.register("http", Recorder())
    assert (await registry.call(attempt("http://h/"))).body == b"shadow"


async def test_a_plugin_can_serve_a_category_of_resources() -> None:
    async def handle(*_: Any) -> str:
        return "from the category"

    plugin = Plugin(handle)
    plugin.resource_category = "model"  # type: ignore[attr-defined]
    registry = http_registry()
    registry.add_plugin(plugin)
    answer = await registry.call(attempt("", resource=b'{"category":"model"}'))
    assert answer.body == b"from the category"


# --- loading ------------------------------------------------------------------


@pytest.fixture(name="module")
def _module() -> Iterator[ModuleType]:
    module = ModuleType("made_up_dispatchers")
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


def test_plugins_are_loaded_by_the_names_in_the_settings(module: ModuleType) -> None:
    def handle(*_: Any) -> str:
        return ""

    class Made:
        name = "made"

        def handle(self, *_: Any) -> str:
            return ""

    vars(module).update(name="whole", handle=handle, Made=Made, ready=Plugin(handle, "ready"))
    names = ["made_up_dispatchers", "made_up_dispatchers:Made", "made_up_dispatchers:ready"]
    assert [plugin.name for plugin in named_plugins(names)] == ["whole", "made", "ready"]
    vars(module)["plugin"] = Plugin(handle, "chosen")
    assert [plugin.name for plugin in named_plugins(names[:1])] == ["chosen"]
    registry = http_registry(plugin_modules=names)
    assert sorted(registry.plugins) == ["chosen", "made", "ready"]


@pytest.mark.parametrize(
    "name", ["no_such_module", "made_up_dispatchers:gone", "json", "json:dumps"]
)
def test_a_name_in_the_settings_that_is_no_plugin_is_an_error(
    name: str, module: ModuleType
) -> None:
    assert module
    with pytest.raises(GatewayError, match=f"^plugin {name} "):
        list(named_plugins([name]))


@pytest.fixture(name="site")
def _site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages that this process looks into as well."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("rillflow_echo", None)


async def test_the_example_plugin_is_installed_found_and_called(site: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([*command, str(ECHO_PLUGIN)], check=True)  # noqa: S603, ASYNC221 - our own pip
    importlib.invalidate_caches()
    registry = http_registry(discover=True)
    by_scheme = await registry.call(attempt("echo://greeting", input=b'{"text":"hi"}'))
    by_protocol = await registry.call(attempt("greeting", resource_protocol="echo"))
    failing = await registry.call(attempt("echo://", input=b'{"fail":"no ink"}'))
    await registry.close()
    assert decode_json(by_scheme.body or b"") == {"echo": {"text": "hi"}, "value": "greeting"}
    assert decode_json(by_protocol.body or b"") == {"echo": {}, "value": "greeting"}
    assert failing.error == "handle fails: no ink"
    assert "properties" in str(getattr(registry.plugins["echo"], "schema", None))


async def test_an_installed_plugin_that_is_broken_says_so_in_its_tasks(site: Path) -> None:
    facts = site / "broken-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[rillflow.dispatchers]\nodd = no_such_module:X\n")
    registry = http_registry(discover=True)
    answer = await registry.call(attempt("odd://x"))
    await registry.close()
    assert answer.error is not None
    assert answer.error.startswith("handle fails: plugin odd could not be loaded: ")
    assert "odd" not in registry.plugins
