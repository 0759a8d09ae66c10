"""Operations as HTTP requests, and HTTP responses as answers or errors (spec 5).

Used by `client/ray_transport/driver.py` and `client/http_transport/transport.py`.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, assert_never

from rillflow.client.http_transport.answers import (
    KEY_ANSWERS,
    TRIGGER_ANSWERS,
    Cluster,
    Execution,
    Listed,
    Operations,
    Stream,
    Task,
    Trace,
    Waits,
    check,
)
from rillflow.client.operations import (
    AddDescriptor,
    Control,
    Finish,
    KeyRequest,
    ListedExecution,
    ListExecutions,
    Read,
    ReadCluster,
    ReadLog,
    ReadTrace,
    ReadWaits,
    Redo,
    RedoMany,
    Request,
    Submit,
    TriggerRequest,
    WakeUp,
)
from rillflow.errors import (
    DefinitionError,
    ExecutionError,
    OverloadedError,
    RequestError,
    RillflowError,
    ServerError,
    StoreError,
    TooLargeError,
    UnavailableError,
    UnknownDescriptorError,
)
from rillflow.jsontypes import (
    JsonObject,
    JsonValue,
    count_of_values,
    decode_json,
    encode_json,
)

EXCERPT: Final = 200
MOST_VALUES: Final = 20_000_000
"""Values that an answer may hold; a list or object counts as four, a key as two.

That is some 64 MiB of short outputs, the most that an execution keeps unless it is set otherwise,
and takes a client less than a gigabyte.
"""
UNAVAILABLE: Final = 503
EXECUTION_FAMILIES: Final = (303, 306)
DEFINITION_FAMILY: Final = 304


class Call(NamedTuple):
    """An HTTP request.

    ``wait_s`` is how long the server may take on purpose, ``within_s`` for how long the
    answer is waited for at most.
    """

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes = b""
    content_type: str = "application/json"
    wait_s: float = 0.0
    within_s: float | None = None

    def longest_s(self, timeout_s: float) -> float:
        """Tell how long to wait for the answer where others may take ``timeout_s``."""
        usual_s = timeout_s + self.wait_s
        return usual_s if self.within_s is None else min(usual_s, self.within_s)


class GroupAnswer(dict[str, JsonValue]):
    """The members of a group, and how many bytes the answer with them had."""

    def __init__(self, members: Mapping[str, JsonValue], *, size_bytes: int) -> None:
        super().__init__(members)
        self.size_bytes = size_bytes


def call_of(request: Request) -> Call:
    """Build the HTTP request of an operation.

    Raises:
        RequestError: It holds something that JSON cannot.
    """
    if isinstance(request, AddDescriptor):
        return _addition(request)
    if isinstance(request, Submit):
        return Call("POST", "/flow/submit.json", _submission(request), encode(request.data))
    if isinstance(request, Read):
        return _reading(request)
    if isinstance(
        request, ListExecutions | ReadCluster | ReadLog | ReadTrace | ReadWaits | KeyRequest
    ):
        return _looking(request)
    if isinstance(request, RedoMany | TriggerRequest):
        return _of_many(request)
    return _order(request)


def _inspecting(request: ReadTrace | ReadWaits) -> Call:
    query = {"execution_id": request.execution_id}
    if isinstance(request, ReadTrace):
        return Call("GET", "/flow/console/v1/trace.json", query)
    task = {"task": request.task} if request.task else {}
    return Call("GET", "/flow/console/v1/waits.json", query | task)


def _looking(
    request: ListExecutions | ReadCluster | ReadLog | ReadTrace | ReadWaits | KeyRequest,
) -> Call:
    if isinstance(request, ReadTrace | ReadWaits):
        return _inspecting(request)
    if isinstance(request, KeyRequest):
        method = "GET" if request.action in {"list", "audit"} else "POST"
        folder = "" if request.action == "audit" else "keys/"
        return Call(method, f"/flow/{folder}{request.action}.json", dict(request.query))
    if isinstance(request, ReadLog):
        query = {"execution_id": request.execution_id, "task_name": request.task}
        return Call("GET", "/flow/logs.json", query)
    if isinstance(request, ReadCluster):
        if request.whole:
            return Call("GET", "/flow/console/v1/operations.json", {})
        named = ",".join(request.executions)
        return Call("GET", "/flow/cluster.json", {"execution_ids": named} if named else {})
    return Call("GET", "/flow/bg/get_execution_ids.json", _listing(request))


def _of_many(request: RedoMany | TriggerRequest) -> Call:
    if isinstance(request, RedoMany):
        return Call("POST", "/flow/multi_redo.json", _redoing(request))
    method = "GET" if request.action in ("list", "show") else "POST"
    body = b"" if request.body is None else encode(request.body)
    return Call(method, f"/flow/triggers/{request.action}.json", dict(request.query), body)


def _addition(request: AddDescriptor) -> Call:
    query = {
        "business_id": request.business,
        "feature_name": request.feature,
        "alias": request.alias,
    }
    path = "/flow/bg/manage/descriptor/add_descriptor.json"
    return Call("POST", path, query, request.text.encode(), "text/plain")


def _order(request: WakeUp | Finish | Redo | Control) -> Call:
    query = {"execution_id": request.execution_id}
    match request:
        case WakeUp():
            query["task_name"] = request.task
            return Call("POST", "/flow/wakeup.json", query, encode(request.data))
        case Finish():
            query["task_name"] = request.task
            query["status"] = "failed" if request.failed else "success"
            return Call("POST", "/flow/trigger.json", query, encode(request.output))
        case Redo():
            query |= _scope(request)
            return Call("POST", "/flow/redo.json", query, encode(request.data))
        case Control():
            return Call("POST", f"/flow/{request.order}.json", query)
    assert_never(request)


def encode(value: JsonObject) -> bytes:
    """Encode what a caller wants to send.

    Raises:
        RequestError: It is not a JSON object, or holds something that JSON cannot.
    """
    if not isinstance(value, dict):
        raise RequestError(f"a JSON object is wanted, not {type(value).__name__}")
    try:
        encoded = encode_json(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise RequestError(f"not a JSON object: {error}") from error
    # Such numbers are encoded as nulls, which the context would drop without a word.
    if b"null" in encoded and _holds_no_number(value):
        raise RequestError("not a JSON object: NaN and infinite numbers are not JSON")
    return encoded


def _holds_no_number(value: object) -> bool:
    """Tell whether NaN or an infinite number is anywhere in it."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case float(number) if not math.isfinite(number):
                return True
            case dict(members):
                waiting.extend(members.values())
            case list(members) | tuple(members):
                waiting.extend(members)
    return False


def _submission(request: Submit) -> dict[str, str]:
    query = {"descriptor_id": request.descriptor_id}
    if isinstance(request.callback, str):
        query["callback"] = request.callback
    elif request.callback is not None:
        query["callback"] = encode(request.callback).decode()
    if request.isolation is not None:
        query["isolation"] = request.isolation
    if request.idempotency_key is not None:
        query["idempotency_key"] = request.idempotency_key
    return query


def _listing(request: ListExecutions) -> dict[str, str]:
    wanted = {
        "business": request.business,
        "feature": request.feature,
        "status": request.status,
        "code": request.code,
        "startTime": request.from_ms,
        "endTime": request.to_ms,
        "page": request.page,
        "pageSize": request.page_size,
        "context": encode(dict(request.context)).decode() if request.context else None,
    }
    return {name: str(value) for name, value in wanted.items() if value is not None}


def _redoing(request: RedoMany) -> dict[str, str]:
    query = {
        "service_id": f"{request.business}:{request.feature}",
        "type": request.status,
        "count": str(request.limit),
        "rate_limit": str(request.per_second),
    }
    if request.code is not None:
        query["code"] = request.code
    return query | _scope(request)


def _scope(request: Redo | RedoMany) -> dict[str, str]:
    """Return which tasks are redone, and how; without a scope it is as in Rill Flow."""
    names = {"task_names": ",".join(request.tasks)} if request.tasks else {}
    return names if request.whole else {**names, "scope": "failed"}


def _reading(request: Read) -> Call:
    query = {"execution_id": request.execution_id}
    if request.part == "children":
        query |= {"parent": request.parent, "group_index": str(request.index)}
        return Call("GET", "/flow/get_by_parent.json", query)
    if request.part == "brief":
        query["brief"] = "true"
    if request.wait_s > 0:
        query["wait_s"] = f"{request.wait_s:.3f}"
    return Call("GET", "/flow/get.json", query, wait_s=request.wait_s, within_s=request.within_s)


def answer_of(request: Request, status: int, body: bytes) -> Any:
    """Read the answer to an operation from the HTTP response.

    Raises:
        RillflowError: The stack refused, with its code and message.
        ServerError: The response is not one of Rillflow's.
    """
    value = _object(status, body)
    if status != 200:
        raise _error(request, status, value)
    try:
        answer = _answer(request, value)
    except (KeyError, TypeError) as error:
        raise _unexpected(status, body, error) from error
    if isinstance(request, Read) and request.part == "children" and answer is not None:
        return GroupAnswer(answer, size_bytes=len(body))
    return answer


def _answer(request: Request, value: JsonObject) -> Any:
    if isinstance(request, AddDescriptor | Submit):
        name = "descriptor_id" if isinstance(request, AddDescriptor) else "execution_id"
        return check(value[name], str)
    if isinstance(request, Read | ReadLog):
        return _read(request, value["ret"])
    if isinstance(request, Finish):
        return value.get("duplicate") is not True
    if isinstance(request, TriggerRequest):
        kind = TRIGGER_ANSWERS.get(request.action)
        return value if kind is None else check(value, kind)
    if isinstance(request, ListExecutions):
        return [_listed(item) for item in check(value["items"], list[Listed])]
    return _state(request, value)


def _state(request: Request, value: JsonObject) -> Any:
    if isinstance(request, ReadTrace | ReadWaits):
        return check(value, Trace if isinstance(request, ReadTrace) else Waits)
    if isinstance(request, ReadCluster):
        return check(value, Operations if request.whole else Cluster)
    return check(value, KEY_ANSWERS[request.action]) if isinstance(request, KeyRequest) else None


def _listed(item: Any) -> ListedExecution:
    return ListedExecution(
        id=item["execution_id"],
        status=item["status"],
        submitted_at_ms=item["submit_time"],
        business=item["business_id"],
        feature=item["feature_id"],
    )


def _read(request: Read | ReadLog, found: Any) -> Any:
    if isinstance(request, ReadLog):
        return check(check(found, dict).get("streams"), list[Stream] | None)
    if request.part != "children":
        return check(found, Execution) if "execution_id" in check(found, dict) else None
    members = check(found, dict)["tasks"]
    return check(members, dict[str, Task]) if isinstance(members, dict) else None


def _error(request: Request, status: int, value: JsonObject) -> RillflowError:
    error, hint = _known_error(request, status, value), value.get("hint")
    if isinstance(hint, str):
        error.with_hint(hint)
    return error


def _known_error(request: Request, status: int, value: JsonObject) -> RillflowError:
    code, message = value.get("error_code"), value.get("error")
    if not isinstance(code, int) or not isinstance(message, str):
        return _unexpected(status, encode_json(value))
    if status >= 500:
        return _engine_error(status, code, message)
    if isinstance(request, AddDescriptor) and status == 400:
        return DefinitionError(code, message)
    if isinstance(request, Submit) and code == UnknownDescriptorError.wire_code:
        return UnknownDescriptorError(message)
    return _refusal(status, code, message)


def _refusal(status: int, code: int, message: str) -> RequestError:
    if status == TooLargeError.http_status:
        return TooLargeError(message)
    if status == OverloadedError.http_status or code == OverloadedError.wire_code:
        return OverloadedError(message)
    return RequestError(message, wire_code=code, http_status=status)


def _engine_error(status: int, code: int, message: str) -> RillflowError:
    if status == UNAVAILABLE:
        is_process = code == UnavailableError.wire_code
        return UnavailableError(message) if is_process else StoreError(message)
    family = code // 100
    if family in EXECUTION_FAMILIES:
        return ExecutionError(message, code)
    if family == DEFINITION_FAMILY:
        return DefinitionError(code, message)
    return ServerError(message, wire_code=code, http_status=status)


def _object(status: int, body: bytes) -> JsonObject:
    if count_of_values(body, MOST_VALUES) > MOST_VALUES:
        raise ServerError(f"the answer holds more than {MOST_VALUES:,} values", http_status=status)
    try:
        value = decode_json(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise _unexpected(status, body)
    return value


def _unexpected(status: int, body: bytes, error: Exception | None = None) -> ServerError:
    excerpt = body[:EXCERPT].decode(errors="replace")
    place = f" ({error})" if isinstance(error, TypeError) else ""
    said = f"the answer is not Rillflow's{place}: {status} {excerpt}"
    return ServerError(said, http_status=status)
