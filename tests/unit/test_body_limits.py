"""A body may be as large as the table of routes and the settings say, whatever reads it."""

from typing import Any, Final
from urllib.parse import urlencode

import pytest
from starlette.requests import Request

from rillflow.settings import Settings
from serve.limits.body_pool import BodyLimit, BodyLimits
from serve.route_table import FORM, ROUTES

SETTINGS: Final = Settings(
    submit_max_bytes=1,
    submit_max_bytes_by_business={"shop": 2},
    callback_max_bytes=3,
    callback_max_bytes_by_business={"shop": 4},
)
LIMITS: Final = BodyLimits(SETTINGS)


def request(path: str, **query: str) -> Request:
    scope: dict[str, Any] = {"type": "http", "path": path, "headers": []}
    return Request({**scope, "query_string": urlencode(query).encode()})


@pytest.mark.parametrize(
    ("path", "parameter", "of_shop", "of_others"),
    [
        ("/flow/submit.json", "descriptor_id", 2, 1),
        ("/flow/mapping_evaluation.json", "execution_id", 1, 1),
        ("/flow/finish.json", "execution_id", 4, 3),
        ("/flow/wakeup.json", "execution_id", 4, 3),
        ("/flow/redo.json", "execution_id", 4, 3),
        ("/flow/trigger.json", "execution_id", 4, 3),
    ],
)
def test_the_limit_of_a_business_wins(
    path: str, parameter: str, of_shop: int, of_others: int
) -> None:
    for value in ("shop:order", " shop:order", "shop"):
        assert LIMITS.of(request(path, **{parameter: value})).bytes == of_shop
    for value in ("other:order", "", "shopping:order"):
        assert LIMITS.of(request(path, **{parameter: value})).bytes == of_others
    assert LIMITS.of(request(path)).bytes == of_others


def test_a_fixed_limit_is_the_one_of_the_table() -> None:
    assert LIMITS.of(request("/flow/cancel.json")) == BodyLimit(FORM.largest_bytes, "", 400)


def test_a_refusal_names_the_setting_where_there_is_one() -> None:
    said = LIMITS.of(request("/flow/trigger.json")).refusal()
    assert said.http_status == 413
    assert said.hint.startswith("this body may have up to 3 bytes, as callback_max_bytes ")
    fixed = LIMITS.of(request("/flow/cancel.json")).refusal()
    assert (fixed.http_status, fixed.hint) == (400, "this body may have up to 65536 bytes")


@pytest.mark.parametrize("path", ["/flow/get.json", "/flow/unlisted.json"])
def test_a_route_whose_row_has_no_body_cannot_read_one(path: str) -> None:
    with pytest.raises(RuntimeError, match=f"{path} reads a body"):
        LIMITS.of(request(path))


def test_the_largest_of_all_bodies_is_known() -> None:
    assert LIMITS.largest_bytes == max(route.body.largest_bytes for route in ROUTES)
    large = Settings(callback_max_bytes_by_business={"shop": 1 << 30})
    assert BodyLimits(large).largest_bytes == 1 << 30
