"""What actors send each other is a closed set: each kind is handled, any other is an error."""

from typing import Any, Final, get_args

import msgspec
import pytest

from rillflow.actors.connections.frames import REFUSAL, answer_of, response_of
from rillflow.errors import DefectError
from rillflow.ports.changes import AwaitChanges
from rillflow.ports.executions import Query, ViewPart
from rillflow.ports.gateway import DispatchAnswer
from rillflow.ports.messages import (
    Answers,
    AwaitEnds,
    BeginDelegation,
    Calls,
    CancelDispatches,
    DispatcherMessage,
    Dispatches,
    GetGatewayHosts,
    GetHealth,
    GetInheritedCalls,
    GetLoopState,
    GetMeters,
    GetPartitionMap,
    GetProcessToken,
    OwnerMessage,
    decode_dispatcher_message,
    decode_owner_message,
    encode_message,
)
from rillflow.runtime.endpoints.dispatcher_endpoint import DispatcherEndpoint
from rillflow.telemetry.states import ProcessState
from tests.loopback import attempt

SECRET: Final = "the value of a secret"
TO_OWNERS: Final[tuple[OwnerMessage, ...]] = (
    Calls([Query(execution_id="b:f_c_1", kind="status")]),
    Answers([DispatchAnswer(execution_id="b:f_c_1", task="A", attempt=1, body=b"{}")]),
    ViewPart("view", 7),
    AwaitEnds("me", 20.0, ["b:f_c_1"], "life"),
    AwaitChanges(7, "life", 20.0),
    GetHealth(),
    GetPartitionMap(),
)
TO_DISPATCHERS: Final[tuple[DispatcherMessage, ...]] = (
    Dispatches("me", 1, 2, b"life", [attempt("http://h/f")]),
    CancelDispatches("me", b"life", [("b:f_c_1", "A", 1, 0)]),
    GetInheritedCalls("me", 2, b"life", [("b:f_c_1", "A", 1, 0)]),
    BeginDelegation("rillflow:dispatcher:0#life"),
    GetProcessToken(),
    GetGatewayHosts(),
)
TO_ALL: Final = (GetLoopState(), GetMeters(ProcessState("replica:1"), asks=False))


def test_these_are_all_kinds() -> None:
    assert {type(each) for each in TO_OWNERS} == set(get_args(OwnerMessage))
    assert {type(each) for each in TO_DISPATCHERS} == set(get_args(DispatcherMessage))


def test_messages_keep_the_tags_that_other_releases_know() -> None:
    every = (*TO_OWNERS, *TO_DISPATCHERS, *TO_ALL)
    assert {type(each).__struct_config__.tag for each in every} == {
        *("Calls", "Answers", "ViewPart", "EndsQuestion", "HealthQuestion", "MapQuestion"),
        "AwaitChanges",
        *(
            "Order",
            "CancelOrder",
            "InheritedCalls",
            "BeginDelegation",
            "LifeQuestion",
            "HostsQuestion",
            "LoopQuestion",
            "GetMeters",
        ),
    }


def test_every_message_arrives_as_what_it_was() -> None:
    for to_owner in (*TO_OWNERS, *TO_ALL):
        assert decode_owner_message(encode_message(to_owner)) == to_owner
    for to_dispatcher in (*TO_DISPATCHERS, *TO_ALL):
        assert decode_dispatcher_message(encode_message(to_dispatcher)) == to_dispatcher


@pytest.mark.parametrize(
    "data",
    [
        msgspec.msgpack.encode(["Nonsense", SECRET]),
        msgspec.msgpack.encode(["Calls", SECRET]),
        msgspec.msgpack.encode(SECRET),
        encode_message(GetProcessToken()),
        b"",
        b"\xc1",
    ],
)
async def test_what_is_no_message_to_an_owner_is_a_defect_to_its_sender(data: bytes) -> None:
    async def answer() -> bytes:
        return repr(decode_owner_message(data)).encode()

    response = await response_of(answer(), "owner")
    assert response.kind == REFUSAL
    with pytest.raises(DefectError, match="in owner; its log has the traceback") as caught:
        answer_of(response)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "message",
    [each for each in TO_OWNERS if not isinstance(each, Answers)],
    ids=lambda each: type(each).__name__,
)
def test_a_dispatcher_takes_no_message_to_an_owner(message: OwnerMessage) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_dispatcher_message(encode_message(message))


async def test_a_dispatcher_answers_each_message_with_its_life_or_what_was_asked_for() -> None:
    none: Any = None
    endpoint = DispatcherEndpoint(none, life=b"another life", connect=none)
    answers = [await endpoint.take(each) for each in TO_DISPATCHERS]
    empty = msgspec.msgpack.encode([])
    life = b"another life"
    assert answers == [life, life, empty, life, life, empty]
