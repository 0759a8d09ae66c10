"""Gray rules, which choose aliases, and A/B rules, which choose functions (spec 5.4, 5.5).

Used by `serve/api.py`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from rillflow.errors import LanguageError, OverloadedError, RequestError
from rillflow.jsontypes import JsonObject, JsonValue
from rillflow.language.expressions import compile_expression
from rillflow.runtime.aio.author_threads import FOR_AUTHORS
from rillflow.runtime.commands.resource_names import DEFAULT_RULE, default_of
from rillflow.runtime.definitions.alias_rules import RuleTurns, refuse_beyond_limits
from rillflow.runtime.definitions.catalogue import check_names
from rillflow.runtime.stack import Stack
from serve.routes.console.definitions import PREFIX
from serve.schemas.console_answers import AbKeys, AbTable, Grays, RuleSet
from serve.schemas.documentation import ERRORS, answer
from serve.schemas.exchange import ENTRY_BYTES, json_response, long_response
from serve.schemas.parameters import Flag

PROTOCOLS: Final = ("rillflow://", "http://", "https://", "resourceRef://")

GrayRule = Annotated[
    str, Query(description="Expression over `uid` and `input`.", examples=["uid % 10 == 0"])
]
AbRule = Annotated[
    str, Query(description="Expression over `uid` and `input`, or the word `default`.")
]


def router(stack: Stack) -> APIRouter:
    """Return the routes of the rules that choose aliases and functions."""
    routes = APIRouter(prefix=PREFIX, tags=["rules"], responses=ERRORS)
    turns = RuleTurns()  # the limits hold for the rules of a choice together
    _add_gray(routes, stack, turns)
    _add_ab(routes, stack, turns)
    return routes


def _add_gray(routes: APIRouter, stack: Stack, turns: RuleTurns) -> None:
    store = stack.store

    @routes.post("/modify_gray.json", responses=answer(RuleSet))
    async def modify_gray(  # noqa: PLR0913, PLR0917 - the parameters of the endpoint
        add: Flag,
        business_id: str,
        feature_name: str,
        alias: str,
        gray_rule: GrayRule = "",
        identity: str = "",
    ) -> Response:
        """Set, or remove, the rule by which an alias is chosen for ids without one."""
        del identity
        if add and not gray_rule.strip():
            raise RequestError("gray_rule can not be empty when add gray")
        check_names(
            removed=not add, business_id=business_id, feature_name=feature_name, alias=alias
        )
        scope = (business_id, feature_name)
        if add:
            async with turns.of(business_id):
                refuse_beyond_limits(await store.rules("gray", scope), alias, gray_rule)
                await stack.stored.admit_names(business_id, feature_name, alias)
                await stack.stored.admit_rule(business_id, (feature_name, alias, gray_rule))
                await store.register(business_id, feature_name, alias)
                await store.set_rule("gray", scope, alias, gray_rule)
        else:
            await store.remove_rule("gray", scope, alias)
        return await _done(business_id, gray_rule if add else "")

    @routes.get("/get_gray.json", responses=answer(Grays))
    async def get_gray(business_id: str, feature_name: str) -> Response:
        """Show the gray rules of a feature by alias."""
        rules = await store.rules("gray", (business_id, feature_name))
        return await long_response(
            {"business_id": business_id, "feature": feature_name, "gray": rules},
            _bytes_of(rules),
            workspace=business_id,
        )


def _add_ab(routes: APIRouter, stack: Stack, turns: RuleTurns) -> None:
    @routes.post("/modify_function_ab.json", responses=answer(RuleSet))
    async def modify_function_ab(  # noqa: PLR0913, PLR0917 - the parameters of the endpoint
        add: Flag,
        business_id: str,
        config_key: str,
        resource_name: str,
        ab_rule: AbRule = "",
        identity: str = "",
    ) -> Response:
        """Set, or remove, one function of the table behind `ab://<config_key>`.

        The first one must be the default; a new default takes the place of the old one.
        """
        del identity
        if add and not ab_rule.strip():
            raise RequestError("ab_rule can not be empty when add action")
        check_names(removed=not add, business_id=business_id, config_key=config_key)
        rule = ab_rule.strip() if add else ""
        if add:
            async with turns.of(business_id):
                await _set_ab_rule(stack, (business_id, config_key), resource_name, rule)
        else:
            await stack.store.remove_rule("ab", (business_id, config_key), resource_name)
        return await _done(business_id, "" if rule == DEFAULT_RULE else rule)

    @routes.get("/get_function_ab.json", responses=answer(AbTable))
    async def get_function_ab(business_id: str, config_key: str) -> Response:
        """Show the table behind `ab://<config_key>`."""
        stored = await stack.store.rules("ab", (business_id, config_key))
        shown = {"business_id": business_id, "config_key": config_key, "ab": _table_of(stored)}
        return await long_response(shown, _bytes_of(stored), workspace=business_id)

    @routes.get("/get_ab_key.json", responses=answer(AbKeys))
    async def get_ab_key(business_id: str) -> Response:
        """List the A/B tables of a business."""
        keys = await stack.store.rule_scopes("ab", business_id)
        return await long_response(
            {"business_id": business_id, "config_keys": keys},
            ENTRY_BYTES * len(keys),
            workspace=business_id,
        )


def _table_of(stored: dict[str, str]) -> JsonObject:
    rules: list[JsonValue] = [
        {"resource_name": name, "rule": rule}
        for name, rule in sorted(stored.items())
        if rule != DEFAULT_RULE
    ]
    default = default_of(stored)
    return {**({} if default is None else {"default_resource_name": default}), "rules": rules}


def _bytes_of(rules: Mapping[str, str]) -> int:
    return sum(ENTRY_BYTES + len(rule) for rule in rules.values())


async def _done(business: str, rule: str) -> Response:
    """Answer that a rule is set; as in Rill Flow, a broken one is accepted, with a hint."""
    done: JsonObject = {"ret": True}
    try:
        if rule:
            await FOR_AUTHORS.run(
                partial(compile_expression, rule), sender=business, text_bytes=len(rule)
            )
    except OverloadedError:
        pass  # the rule is set, but was not checked for lack of time
    except LanguageError as error:
        done["hint"] = f"the rule is no expression, so it never holds: {error}"
    return json_response(done)


async def _set_ab_rule(stack: Stack, scope: tuple[str, str], resource_name: str, rule: str) -> None:
    """Set one rule, so that there is always exactly one default.

    Raises:
        RequestError: The name has another protocol, or there would be no default (30109); the rule
            exceeds a limit (30110).
        OverloadedError: There is no room for it (503, 429).
    """
    if not resource_name.startswith(PROTOCOLS):
        raise RequestError("resource_name format is not support")
    store = stack.store
    kept = await store.rules("ab", scope)
    default = default_of(kept)
    if rule != DEFAULT_RULE and default in (None, resource_name):
        raise RequestError("default resource value should be configured")
    refuse_beyond_limits(kept, resource_name, rule)
    business, config_key = scope
    await stack.stored.admit_rule(business, (config_key, resource_name, rule))
    await store.set_rule("ab", scope, resource_name, rule)
    if rule == DEFAULT_RULE and default not in (None, resource_name):
        await store.remove_rule("ab", scope, default or "")
