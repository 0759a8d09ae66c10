"""The parameters of a request are those that Starlette reads, the last one of each name."""

import pytest
from starlette.datastructures import QueryParams

from serve.schemas.exchange import query_of


@pytest.mark.parametrize(
    "query",
    [
        b"",
        b"a=1&b=2",
        b"a=1&a=2",
        b"a=&b",
        b"&&a=1&",
        b"a=b=c",
        b"execution_id=shop%3Aorder_c_1&task_name=each_0-one",
        b"a+b=c+d&%C3%A4=%F0%9F%92%A9",
        b"a=%FF&b=%zz&c=\xff",
        b"a;b=1",
    ],
)
def test_any_query_reads_as_in_starlette(query: bytes) -> None:
    assert query_of({"query_string": query}) == dict(QueryParams(query))
