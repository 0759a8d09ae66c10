"""Every reader of text from outside, and texts of any length that are made to be slow.

``tests/unit/test_linear_readers.py`` and ``python -m tests.bench.readers`` go through all of them.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from starlette.datastructures import QueryParams

from rillflow.client import operations
from rillflow.client.http_transport import wire
from rillflow.core.redaction import redacted
from rillflow.definition import canonical_text, find_problems, parse_definition
from rillflow.errors import RillflowError
from rillflow.gateways.callbacks.arrivals import read_callback, read_finish
from rillflow.gateways.http.responses import answered, bounded, redirected
from rillflow.gateways.http_client.content_encoding import unpacked
from rillflow.gateways.outbound.charsets import declared_charset, in_utf8
from rillflow.gateways.outbound.exchange import HttpCall, Reply
from rillflow.gateways.outbound.hints import retry_after_s, retry_interval_s
from rillflow.gateways.outbound.targets import http_target
from rillflow.gateways.secrets.masks import Mask
from rillflow.ids import is_execution_id, parse_descriptor_id
from rillflow.jsontypes import decode_json, decode_untrusted_json
from rillflow.language.expressions import compile_expression
from rillflow.language.jsonpath.comparisons import Pattern
from rillflow.language.jsonpath.filter_syntax import read_filter
from rillflow.language.jsonpath.paths import compile_path
from rillflow.language.mapping.secret_references import has_reference, replace_references
from rillflow.language.mapping.targets import compile_target
from rillflow.language.text.literals import parse_literal, whole_number
from rillflow.language.text.loose_json import read_json
from rillflow.runtime.definitions.input_schema import InputSchema
from serve.schemas.exchange import flag, read_callback_config, read_resource_check, seconds, user_id
from serve.schemas.parameters import listed
from tests.loopback import attempt

MOST: Final = 1 << 24
MASK: Final = Mask({"S": "a secret of some length", "T": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"})
HEAD: Final = "workspace: a\ndagName: b\ntype: flow\ntasks: "


class Reader(NamedTuple):
    """A reader; ``most`` is the length of the longest text that it looks into."""

    name: str
    read: Callable[[str], object]
    most: int = MOST


def _callback(body: bytes, **headers: str) -> object:
    named = {"execution_id": "b:f_c_1", "task_name": "A"}
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_callback(query=named, headers=said, body=body, max_body_bytes=MOST)


def _finish(text: str) -> object:
    named = {"execution_id": "b:f_c_1", "task_name": "A"}
    return read_finish(query=named, headers={}, body=_bytes(text), max_body_bytes=MOST)


def _failed_callback(text: str) -> object:
    named = {"execution_id": "b:f_c_1", "task_name": "A", "status": "failed", "context": text}
    return read_callback(query=named, headers={}, body=_bytes(text), max_body_bytes=MOST)


def _answer(text: str) -> object:
    reply = Reply(202, text[:100], {"location": text[:60_000], "retry-after": text}, _bytes(text))
    return bounded(answered(attempt("http://h/f"), reply, url="http://h/f", now_ms=0))


def _redirect(text: str) -> object:
    call = HttpCall("POST", "http://h/f", (), None)
    return redirected(call, Reply(302, "", {"location": text}, b""))


def _query(text: str) -> object:
    query = QueryParams(text)
    return {name: query[name] for name in query}


def _packed(text: str) -> object:
    """Take the text for the packed stream itself, and for what is packed."""
    raw = _bytes(text)
    for body, coding in ((raw, "gzip"), (gzip.compress(raw, 1), "gzip, gzip"), (raw, "deflate")):
        _callback(body, content_encoding=coding)
    for body in (raw, gzip.compress(raw, 1), gzip.compress(b"") * (len(raw) // 20)):
        _quietly(partial(unpacked, body, "gzip", most_bytes=MOST))
    return unpacked(zlib.compress(raw, 1), "deflate", most_bytes=MOST)


def _charset(text: str) -> object:
    in_utf8(_bytes(text), "text/plain; charset=gbk")
    in_utf8(b"\xff\xfe" + _bytes(text), "")
    return declared_charset(text)


def _secrets(text: str) -> object:
    MASK.message(text)
    return MASK.body(_bytes(text)), MASK.text(text)


def _references(text: str) -> object:
    return has_reference(text), replace_references(text, lambda name: name)


def _parameters(text: str) -> object:
    for read in (seconds, user_id, lambda given: flag(given, "flag"), read_callback_config):
        _quietly(partial(read, text))
    return listed([text]), read_resource_check(text)


def _definition(text: str) -> object:
    find_problems(text)
    return canonical_text(parse_definition(text))


def _ids(text: str) -> object:
    return is_execution_id(text), parse_descriptor_id(text)


def _numbers(text: str) -> object:
    return whole_number(text), retry_after_s(text, now_ms=0)


def _client(text: str) -> object:
    return wire.answer_of(operations.Read(execution_id="b:f_c_1"), 400, _bytes(text))


def _pattern(text: str) -> object:
    return Pattern(text, "")


READERS: Final = (
    Reader("decode_json", decode_json),
    Reader("decode_untrusted_json", decode_untrusted_json),
    Reader("read_json, names", lambda text: read_json(text, "names")),
    Reader("read_json, words", lambda text: read_json(text, "words")),
    Reader("parse_literal", parse_literal),
    Reader("compile_path", compile_path, 10_000),
    Reader("compile_target", compile_target, 10_000),
    Reader("read_filter", lambda text: read_filter(f"({text})", 0), 10_000),
    Reader("regular expression of a filter", _pattern, 10_000),
    Reader("compile_expression", compile_expression, 32_768),
    Reader("read_callback", lambda text: _callback(_bytes(text))),
    Reader(
        "read_callback, CloudEvent",
        lambda text: _callback(_bytes(text), content_type="application/cloudevents+json"),
    ),
    Reader("read_callback, failed", _failed_callback),
    Reader("read_finish", _finish),
    Reader("packed bodies", _packed),
    Reader("charsets", _charset),
    Reader("answers", _answer, 60_000),
    Reader("redirects", _redirect, 60_000),
    Reader("hints", lambda text: retry_interval_s(b"retry_interval_seconds" + _bytes(text))),
    Reader("secret masks", _secrets),
    Reader("secret references", _references),
    Reader("redaction", lambda text: redacted({"a": text, text: [text]})),
    Reader("query strings", _query, 64 * 1024),
    Reader("parameters", _parameters, 16 * 1024),
    Reader("ids", _ids),
    Reader("numbers and dates", _numbers, 60_000),
    Reader("addresses", http_target, 60_000),
    Reader("YAML", lambda text: _definition(HEAD + text), 600_000),
    Reader("inputSchema", InputSchema),
    Reader("client", _client),
)

_ITEMS: Final = (
    *('"', "'", "\\", '\\"', '"\\', '""', '"a",', "[", "{", "(", "]", "}", ")", "[]", "[],", "()"),
    *(
        '{"a":',
        "{a:",
        "[[],",
        "/",
        "//",
        "/a/,",
        "$",
        "$.",
        ".",
        "..",
        "..*",
        "*",
        "?(",
        "@",
        "@.a",
    ),
    *(
        "&&",
        " && ",
        "||",
        "!",
        "==",
        "=~",
        "1",
        "0",
        "1,",
        "1e308,",
        "-",
        "+",
        "--",
        "e",
        "1e",
        ".",
    ),
    *(
        "a",
        "é",
        " ",
        "\t",
        "\n",
        "\r\n",
        "\n ",
        "#",
        "##",
        "# a\n",
        "${secret:",
        "${secret:A}",
        "${",
    ),
    *(
        "charset",
        "charset=",
        "charset ",
        "%",
        "%41",
        "%25",
        "&",
        "&a=",
        "a&",
        "=",
        ";",
        ",",
        ", ",
        ":",
    ),
    *(
        ": ",
        "- ",
        "- a\n",
        "-\n",
        "? ",
        "?\n",
        "<<: ",
        "|",
        "|\n",
        ">\n",
        "&a ",
        "*a ",
        "!a ",
        "!!",
        "_",
    ),
    *(
        "\\u00e9",
        "\\ud800",
        "\\\\",
        "\x00",
        "\ud800",
        "a.b:",
        "a:",
        "http://",
        "/../",
        "a/",
        "<",
        "if ",
    ),
    *(
        "let a = ",
        "lambda(x)->",
        "x ",
        "->",
        "end ",
        "null",
        "true ",
        "nil,",
        "f(",
        "a[",
        "a.",
        "`",
        "~",
    ),
)
_BEFORE: Final = (
    "",
    '"',
    "'",
    "[",
    "{",
    '{"a":"',
    "[" * 201 + '"',
    "$[?(",
    "$.f(",
    "$['",
    "/",
    "${",
    "|\n",
)


def hostile_texts(size: int) -> Iterator[tuple[str, str]]:
    """Yield texts of so many characters, each with what it is made of."""
    for before in _BEFORE:
        for item in _ITEMS:
            count = max((size - len(before)) // len(item), 1)
            yield f"{before[:8]!r} {item!r}", before + item * count


def well_formed_texts(size: int) -> Iterator[tuple[str, str]]:
    """Yield texts that some readers understand, of about so many characters."""
    count = size // 16
    members: Mapping[str, str] = {f"key{n}": "value" for n in range(count // 2)}
    quoted = ",".join(f'"{key}":"{value}"' for key, value in members.items())
    yield "object", "{" + quoted + "}"
    yield "loose object", "{" + quoted.replace('"key', "key").replace('":"', ':"') + "}"
    yield "records", "[" + '{"a":[1,2]},' * count + "1]"
    yield "text", '"' + "some words, " * count + '"'
    yield "path", "$" + ".abcdefghij" * count
    yield "filter", "@.a == 1" + " || @.a == 'b'" * count
    yield "expression", "1" + " + a" * count
    yield "yaml", "\n" + "- {name: a, category: pass}\n" * (size // 28)
    yield "tags", "".join(f"%TAG !t{n}! b\n" for n in range(count)) + "--- a"
    yield "anchors", "".join(f"- &a{n} *a{n}\n" for n in range(count))
    yield "query", "&".join(f"a{n}=b" for n in range(count))


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _quietly(read: Callable[[], Any]) -> None:
    try:
        read()
    except (RillflowError, ValueError):
        return


def read(reader: Reader, text: str) -> None:
    """Have a text read, or refused in the reader's own words."""
    _quietly(partial(reader.read, text))
