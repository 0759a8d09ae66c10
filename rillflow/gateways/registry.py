"""The registry of gateways: chooses by plugin, ``resourceProtocol`` or scheme (spec 4.1).

A dispatcher has one. ``with_http`` registers the built-in gateways; `actors/dispatcher_actor.py`
adds those that need Ray.

Used by `actors/dispatcher_actor.py` and `runtime/local.py`.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from typing import Final

from msgspec.structs import replace

from rillflow.definition.addresses import protocol_hint
from rillflow.errors import GatewayError
from rillflow.gateways.http.gateway import HttpGateway
from rillflow.gateways.http.responses import bounded, cut
from rillflow.gateways.language_models import language_models
from rillflow.gateways.limits.answer_budget import AnswerBudget
from rillflow.gateways.limits.delegation_call import Delegate, Delegates, DelegationCall
from rillflow.gateways.limits.waiting_call import WaitingCall
from rillflow.gateways.outbound.portions import Portions
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.gateways.outbound.targets import HTTP_SCHEMES, effective_protocol
from rillflow.gateways.outbound.threads import SHORT_BYTES, in_turn
from rillflow.gateways.plugins.gateway import GatewayPlugin, PluginGateway
from rillflow.gateways.plugins.loading import (
    BrokenPluginGateway,
    installed_plugins,
    named_plugins,
)
from rillflow.gateways.secrets.masks import Mask
from rillflow.gateways.secrets.store import (
    KnownSecrets,
    SecretCall,
    Secrets,
    masked_answer,
    masked_in_turn,
    takes_long,
    unsealed_answer,
)
from rillflow.jsontypes import NEVER_TOO_MUCH_BYTES, JsonObject, decode_json
from rillflow.ports.clock import Clock
from rillflow.ports.gateway import (
    HANDLE_FAILS,
    CircuitState,
    DispatchAnswer,
    DispatchRequest,
    Gateway,
    HostState,
    failed,
)

_COMPLETION: Final = "completion"
HTTP_PROTOCOLS: Final = ("http", "https", "function")


class GatewayRegistry:
    """Gateways by protocol, itself a gateway; a plugin replaces a built-in protocol."""

    def __init__(self, settings: HttpSettings, clock: Clock) -> None:
        self._settings = settings
        self._secrets = Secrets(settings.secrets_dir, hosts=settings.secret_hosts)
        self._known = KnownSecrets(self._secrets, clock)
        self._clock = clock
        self._portions = Portions()
        self._http: HttpGateway | None = None
        self._built_in: dict[str, Gateway] = {}
        self._plugins: dict[str, Gateway] = {}
        self._categories: dict[str, Gateway] = {}

    @classmethod
    def with_http(
        cls,
        settings: HttpSettings,
        clock: Clock,
        *,
        plugin_modules: Iterable[str] = (),
        discover: bool = True,
        budget: AnswerBudget | None = None,
    ) -> "GatewayRegistry":
        """Build the registry of a server: HTTP, language models, installed and named plugins.

        Args:
            settings: Of the HTTP gateway and of the calls to plugins.
            clock: Time of the calls.
            plugin_modules: Plugins to load by ``module[:attribute]``; the last of a
                name wins, also over installed ones.
            discover: Whether to look for installed plugins.
            budget: What the answers under way may hold together.

        Raises:
            GatewayError: A named plugin cannot be loaded.
        """
        registry = cls(settings, clock)
        http = registry._http = HttpGateway(settings, clock, budget)
        for protocol in HTTP_PROTOCOLS:
            registry.register(protocol, http)
        for protocol, model in language_models(settings, http):
            registry.register(protocol, model)
        for name, plugin in installed_plugins() if discover else ():
            registry.add_plugin(plugin, name=name)
        for plugin in named_plugins(plugin_modules):
            registry.add_plugin(plugin)
        return registry

    @property
    def plugins(self) -> Mapping[str, GatewayPlugin]:
        """The plugins that work, by protocol."""
        return {
            name: gateway.plugin
            for name, gateway in self._plugins.items()
            if isinstance(gateway, PluginGateway)
        }

    def chosen(self, calls: int) -> Delegate | None:
        """Return who is to make the next calls; see ``DelegationGateway``."""
        return None if self._http is None else self._http.chosen(calls)

    def pass_on(self, call: DelegationCall, delegate: Delegate) -> bool:
        """Pass a plain HTTP call on, if its turn is now."""
        request, http = call.request, self._http
        try:
            is_plain = not request.secrets and self._gateway_for(request) is http
        except GatewayError:
            return False
        if http is None or not is_plain:
            return False
        size_bytes = len(request.input)
        # Who makes it builds it in one turn with all others that come at once.
        if size_bytes <= SHORT_BYTES and not self._portions.takes(size_bytes):
            return False
        return http.pass_on(call, delegate)

    def finished(
        self, call: DelegationCall, outcome: DispatchAnswer | TimeoutError
    ) -> DispatchAnswer | Awaitable[DispatchAnswer]:
        """Return the answer of a call that was passed on."""
        if isinstance(outcome, DispatchAnswer):
            return _fit(outcome)
        return failed(call.request, "") if self._http is None else self._http.given_up(call.request)

    def delegate_to(self, delegates: Delegates | None) -> None:
        """Have others make plain HTTP calls whose turn has come here."""
        if self._http is not None:
            self._http.delegates = delegates

    def calls_plugin(self, request: DispatchRequest) -> bool:
        """Tell whether a plugin makes a call."""
        try:
            return isinstance(self._gateway_for(request), PluginGateway)
        except GatewayError:
            return False

    def register(self, protocol: str, gateway: Gateway) -> None:
        """Register a gateway for a protocol, in place of an earlier one."""
        self._built_in[protocol] = gateway

    def add_plugin(
        self, plugin: GatewayPlugin | BrokenPluginGateway, *, name: str | None = None
    ) -> None:
        """Register a plugin for its name, and for its resource category if it has one."""
        if isinstance(plugin, BrokenPluginGateway):
            self._plugins[name or ""] = plugin
            return
        gateway = PluginGateway(plugin, self._settings, self._clock)
        self._plugins[name or plugin.name] = gateway
        category = getattr(plugin, "resource_category", None)
        if isinstance(category, str):
            self._categories[category] = gateway

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        """Make one attempt through the gateway that serves it, with the secrets it needs."""
        size_bytes = len(request.input)
        if size_bytes <= SHORT_BYTES and not self._portions.takes(size_bytes):
            await self._portions.wait(request.execution_id, size_bytes)
        if request.secrets or request.poll:
            return await self._call_masked(request)
        try:
            answer = await self._gateway_for(request).call(request)
        except Exception as error:  # noqa: BLE001 - the port promises an answer
            answer = _failed_by(request, error)
        if answer.error is not None and answer.is_outcome:
            # What a function of Ray raises may show its environment, which has all secrets.
            answer = await masked_in_turn(answer, self._known.mask())
        fit = _fit(answer)
        return fit if isinstance(fit, DispatchAnswer) else await fit

    def queue(self, call: WaitingCall) -> bool:
        """Begin a plain HTTP call when its turn comes; see ``TurnGateway``."""
        request, http = call.request, self._http
        if http is None or request.secrets or request.poll or not request.task:
            return False
        try:
            return self._gateway_for(request) is http and http.queue(call)
        except GatewayError:
            return False

    async def make(self, call: WaitingCall) -> DispatchAnswer:
        """Make one attempt whose turn has come."""
        request, http = call.request, self._http
        if http is None:  # it has queued nothing
            return failed(request, "")
        size_bytes = len(request.input)
        if size_bytes <= SHORT_BYTES and not self._portions.takes(size_bytes):
            await self._portions.wait(request.execution_id, size_bytes)
        fit = _fit(await http.make(call))
        return fit if isinstance(fit, DispatchAnswer) else await fit

    async def _call_masked(self, request: DispatchRequest) -> DispatchAnswer:
        """Make an attempt whose answer may show secrets."""
        try:
            size_bytes = len(request.input) if request.secrets else 0
            call = await in_turn(
                request.execution_id, size_bytes, lambda: SecretCall(request, self._secrets)
            )
        except GatewayError as error:
            return failed(request, str(error), error.hint)
        try:
            answer = await self._gateway_for(call.request).call(call.request)
        except Exception as error:  # noqa: BLE001 - the port promises an answer
            answer = _failed_by(call.request, error)
        # The poll of an earlier call, perhaps made by another dispatcher.
        mask = self._known.mask() if request.poll else None
        size_bytes = len(answer.body or b"") + len(answer.error or "")
        return await in_turn(
            request.execution_id,
            size_bytes,
            lambda: _fit_to_keep(answer, call, mask),
            is_long=takes_long(answer, call.mask) or bool(mask and takes_long(answer, mask)),
        )

    def masked(self, text: str) -> str:
        """Return a text in which secrets are replaced by references."""
        return self._known.mask().text(text)

    def hosts(self) -> list[HostState]:
        """Return the state of the hosts that are called over HTTP; addresses hide secrets."""
        hosts = list(self._http.hosts()) if self._http is not None else []
        states = [state for each in hosts for state in (each.host, *each.functions)]
        names = iter(self._known.mask().texts([state.name for state in states]))

        def masked(state: CircuitState) -> CircuitState:
            return replace(state, name=next(names))

        return [
            replace(
                found, host=masked(found.host), functions=[masked(each) for each in found.functions]
            )
            for found in hosts
        ]

    async def close(self) -> None:
        """Close every gateway once; one that fails does not keep the others open."""
        tables = (self._built_in, self._plugins)
        gateways = {id(gateway): gateway for table in tables for gateway in table.values()}
        await asyncio.gather(
            *(gateway.close() for gateway in gateways.values()), return_exceptions=True
        )

    def _gateway_for(self, request: DispatchRequest) -> Gateway:
        if request.resource is not None:
            return self._gateway_of_resource(request.resource)
        if not request.resource_name.strip():
            raise GatewayError("handle functionPattern null")
        protocol = effective_protocol(request.resource_name, request.resource_protocol)
        if request.pattern == _COMPLETION and protocol not in HTTP_SCHEMES:
            raise GatewayError(f"a completion callback is posted to http or https, not {protocol}")
        gateway = self._plugins.get(protocol) or self._built_in.get(protocol)
        if gateway is not None:
            return gateway
        if protocol in ("resource", "resourceRef"):
            raise GatewayError("function resource null")
        message = f"handle functionPattern protocol: {protocol}do not support"
        raise GatewayError(message, hint=protocol_hint(protocol, self._plugins))

    def _gateway_of_resource(self, text: bytes) -> Gateway:
        category = _category(text)
        gateway = self._categories.get(category or "")
        if gateway is None:
            raise GatewayError(f"function resource category: {category or 'null'}do not support")
        return gateway


def _fit(answer: DispatchAnswer) -> DispatchAnswer | Awaitable[DispatchAnswer]:
    """Return an answer within its limits, and without seals."""
    if not answer.body or len(answer.body) <= NEVER_TOO_MUCH_BYTES:
        return cut(unsealed_answer(answer))
    return in_turn(
        answer.execution_id,
        len(answer.body),
        lambda: cut(unsealed_answer(bounded(answer))),
    )


def _fit_to_keep(answer: DispatchAnswer, call: SecretCall, mask: Mask | None) -> DispatchAnswer:
    """Return an answer within its limits, and without secrets."""
    answer = call.masked(bounded(answer))
    return cut(answer if mask is None else masked_answer(answer, mask))


def _category(text: bytes) -> str | None:
    resource = decode_json(text)
    if not isinstance(resource, dict):
        raise GatewayError("function resource null")
    return _text_field(resource, "category")


def _text_field(fields: JsonObject, name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None


def _failed_by(request: DispatchRequest, error: Exception) -> DispatchAnswer:
    if isinstance(error, GatewayError):
        return failed(request, str(error), error.hint)
    return failed(request, f"{HANDLE_FAILS}{str(error) or type(error).__name__}")
