"""Every route has one row in the table, and the API consists of the table's routes only."""

from collections import Counter
from typing import Final

import pytest
from fastapi import APIRouter, FastAPI

from rillflow.settings import Settings
from serve.api import include_routers
from serve.route_table import (
    BODIES,
    ROUTES,
    Access,
    RouteTableError,
    check_endpoints,
    hot_endpoints,
    methods,
    paths_where,
)
from tests.routes_page import PAGE, page

ALL: Final = {(method, route.path) for route in ROUTES for method in methods(route)}


def test_the_page_of_the_http_api_shows_the_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text), "run: python -m tests.routes_page"


def test_a_path_has_one_row() -> None:
    assert set(Counter(route.path for route in ROUTES).values()) == {1}


def test_exactly_these_routes_need_no_credentials() -> None:
    assert paths_where(lambda route: route.access is not Access.KEY) == {
        "/flow/trigger.json",
        "/flow/artifacts",
        "/flow/artifacts/{sha256}",
        "/flow/hooks/{name}",
        "/",
        "/console",
        "/console/files/{name}",
        "/console/session",
        "/console/sign-in",
        "/console/sign-out",
        "/flow/service_check.json",
        "/healthz",
        "/readyz",
        "/docs",
        "/swagger-ui.html",
    }


def test_a_body_is_bounded_by_a_number_or_by_a_setting() -> None:
    for body in BODIES[1:]:
        assert bool(body.largest_bytes) != bool(body.setting), body
        assert not body.setting or body.setting in Settings.model_fields
        assert not body.business_in or f"{body.setting}_by_business" in Settings.model_fields
    assert {route.body for route in ROUTES} == set(BODIES)


def test_a_route_that_is_not_in_the_table_keeps_the_api_from_starting() -> None:
    router = APIRouter()

    @router.post("/flow/unlisted.json")
    async def unlisted() -> None:
        """Do nothing."""

    with pytest.raises(RouteTableError, match=r"no row in .*: POST /flow/unlisted\.json$"):
        include_routers(FastAPI(openapi_url=None, docs_url=None), [router], Settings())


def test_a_method_that_is_not_in_the_table_is_a_route_that_is_not_in_it() -> None:
    with pytest.raises(RouteTableError, match=r"no row in .*: DELETE /flow/get\.json$"):
        check_endpoints({*ALL, ("DELETE", "/flow/get.json")})


def test_a_row_without_an_endpoint_keeps_the_api_from_starting() -> None:
    check_endpoints(ALL)
    with pytest.raises(RouteTableError, match=r"have no endpoint: GET /readyz$"):
        check_endpoints(ALL - {("GET", "/readyz")})


def test_the_hot_endpoints_are_those_of_the_table() -> None:
    paths = dict.fromkeys(paths_where(lambda route: route.hot), 1)
    assert hot_endpoints(paths).keys() == {
        ("POST", "/flow/submit.json"),
        ("GET", "/flow/get.json"),
        ("POST", "/flow/finish.json"),
        ("GET", "/flow/trigger.json"),
        ("POST", "/flow/trigger.json"),
    }
    with pytest.raises(RouteTableError, match="hot endpoints"):
        hot_endpoints(paths | {"/flow/cancel.json": 1})
