"""What resource names stand for: functions, sub-flows, A/B rules, references (spec 4.1, 4.8).

Used by `runtime/commands/dispatching.py` and `serve/routes/console/definition_rules.py`.
"""

import asyncio
from types import MappingProxyType
from typing import Final, TypeAlias
from urllib.parse import parse_qs
from weakref import WeakValueDictionary

import msgspec
from cachetools import TTLCache

from rillflow.core.commands import DispatchTask
from rillflow.definition.addresses import without_user_info
from rillflow.definition.model import Resource
from rillflow.errors import DefinitionError, RequestError
from rillflow.gateways.outbound.threads import computed
from rillflow.ids import workspace_of
from rillflow.jsontypes import JsonObject, encode_json
from rillflow.language.bounded_cache import BoundedCache
from rillflow.ports.clock import Clock
from rillflow.ports.storage.store import Catalogue
from rillflow.runtime.commands.subflows import Workspaces, refuse_workspace
from rillflow.runtime.definitions.alias_rules import TURNS_OF_PROCESS, RuleTurns, first_that_holds
from rillflow.runtime.definitions.catalogue import (
    parse_stored,
    read_bytes,
    resolve_descriptor,
    stored_text,
)

AB_SCHEME: Final = "ab://"
REFERENCE_SCHEME: Final = "resourceRef://"
FLOW_PROTOCOL: Final = "rillflow"
DEFAULT_RULE: Final = "default"
PROCESS_FAIL: Final = 30106

_WEB_SCHEMES: Final = ("http://", "https://")
_RULES_FRESH_S: Final = 3.0
_MOST_RULES: Final = 1000
_RESOURCES_BYTES: Final = 32 * 1024 * 1024
"""Limit of the memory of the resources of definitions that are kept."""
Resources: TypeAlias = tuple[Resource, ...]


class Chooser:
    """Resolves the function of a dispatch; A/B rules are up to 3 s old."""

    def __init__(
        self,
        catalogue: Catalogue,
        clock: Clock,
        workspaces: Workspaces = MappingProxyType({}),
        turns: RuleTurns = TURNS_OF_PROCESS,
    ) -> None:
        """Resolve by ``catalogue``; ``workspaces`` are those whose resources a workspace may use.

        Without any, it may use those of all. Rules are evaluated in ``turns``.
        """
        self._rule_turns = turns
        self._catalogue = catalogue
        self._workspaces = workspaces
        self._resources = BoundedCache[Resources](_RESOURCES_BYTES)
        self._turns = WeakValueDictionary[str, asyncio.Lock]()
        self._rules = TTLCache[tuple[str, str], dict[str, str]](
            _MOST_RULES, _RULES_FRESH_S, timer=clock.monotonic_s
        )

    async def choose(self, command: DispatchTask, *, context: JsonObject, uid: int) -> DispatchTask:
        """Return the dispatch with its resolved function.

        Args:
            command: Names an A/B table or a resource of another definition.
            context: The execution's, the ``input`` of the rules.
            uid: The submitter's.

        Raises:
            RillflowError: No function can be chosen.
        """
        if command.resource_name.startswith(AB_SCHEME):
            command = await self._by_rule(command, context, uid)
        if command.resource_name.startswith(REFERENCE_SCHEME):
            resource = await self._referenced(command)
            text = encode_json(resource.model_dump(by_alias=True, exclude_none=True))
            command = msgspec.structs.replace(command, resource=text)
        return command

    async def _referenced(self, command: DispatchTask) -> Resource:
        """Find a resource; one definition is parsed once, however many calls come together."""
        uri = command.resource_name
        refuse_workspace(command, self._workspaces, _target_of(uri), "use resources")
        async with self._turns.setdefault(workspace_of(command.execution_id), asyncio.Lock()):
            return await find_resource(self._catalogue, uri, self._resources, self._rule_turns)

    async def _by_rule(self, command: DispatchTask, context: JsonObject, uid: int) -> DispatchTask:
        business = workspace_of(command.execution_id)
        key = command.resource_name.removeprefix(AB_SCHEME)
        rules = await self._fresh_rules(business, key)
        winner = await winner_of(
            rules, uid=uid, data=context, workspace=business, turns=self._rule_turns
        )
        if winner is None:
            raise RequestError(
                f"no default resource for ab config key: {without_user_info(key)}",
                wire_code=PROCESS_FAIL,
            )
        # Secrets are inserted only where the definition itself refers to them, and the winner does
        # not come from it.
        return msgspec.structs.replace(
            command,
            resource_name=winner,
            resource_protocol=None,
            secrets=tuple(filter(None, command.secrets)),
        )

    async def _fresh_rules(self, business: str, key: str) -> dict[str, str]:
        rules = self._rules.get((business, key))
        if rules is None:
            rules = self._rules[business, key] = await self._catalogue.rules("ab", (business, key))
        return rules


def is_web_call(command: DispatchTask) -> bool:
    """Tell whether a dispatch calls the address that it names; neither of the others is one."""
    return command.resource_protocol is None and command.resource_name.startswith(_WEB_SCHEMES)


def is_flow(request: DispatchTask) -> bool:
    """Tell whether a dispatch starts a sub-flow instead of calling a gateway."""
    protocol = request.resource_protocol or request.resource_name.partition("://")[0]
    return protocol == FLOW_PROTOCOL and request.resource is None


def is_indirect(command: DispatchTask) -> bool:
    """Tell whether the resource name of a dispatch stands for another one."""
    return command.resource_name.startswith((AB_SCHEME, REFERENCE_SCHEME)) and (
        command.resource is None
    )


def default_of(rules: dict[str, str]) -> str | None:
    """Return the resource that is used if no rule is true."""
    return next((name for name, rule in sorted(rules.items()) if rule == DEFAULT_RULE), None)


async def winner_of(
    rules: dict[str, str],
    *,
    uid: int,
    data: JsonObject,
    workspace: str,
    turns: RuleTurns,
) -> str | None:
    """Return the resource that A/B rules choose, None if they choose none.

    Raises:
        RequestError: The rules together exceed their budget (30110).
    """
    conditional = {name: rule for name, rule in rules.items() if rule != DEFAULT_RULE}
    chosen = await first_that_holds(
        conditional, uid=uid, data=data, workspace=workspace, turns=turns
    )
    return chosen or default_of(rules)


def _target_of(uri: str) -> str:
    return uri.partition("://")[2].partition("?")[0]


async def find_resource(
    catalogue: Catalogue,
    uri: str,
    kept: BoundedCache[Resources] | None = None,
    turns: RuleTurns = TURNS_OF_PROCESS,
) -> Resource:
    """Find ``<scheme>://<descriptor id>?name=<name>`` among the resources of a definition.

    Those of a version that was read are ``kept``.

    Raises:
        RequestError: The definition has no resources, or none of the name, or there is
            no such definition (30106).
    """
    target, _, query = uri.partition("://")[2].partition("?")
    try:
        [name] = parse_qs(query).get("name", [""])[:1]
        found = await resolve_descriptor(catalogue, target, turns=turns)
        resources = None if kept is None else kept.get(found.version or "")
        if resources is None:
            text = await stored_text(catalogue, found.version or "")
            read = await computed(len(text), lambda: parse_stored(text), workspace=found.business)
            resources = read.resources or ()
            if kept is not None:
                kept.put(found.version or "", resources, read_bytes(text), found.business)
    except (RequestError, DefinitionError, ValueError) as error:
        raise RequestError(f"getTaskResource fails: {error}", wire_code=PROCESS_FAIL) from error
    if not resources:
        raise RequestError("dag resources empty", wire_code=PROCESS_FAIL)
    for resource in resources:
        if resource.name == name:
            return resource
    raise RequestError("dag resource null", wire_code=PROCESS_FAIL)
