"""A large snapshot holds each value once, however many tasks have it, and is read as it was."""

import sys
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillflow.core import machine
from rillflow.core.encoding import codec
from rillflow.core.encoding.shared_values import LEAST_BYTES, LONG_CHARS, values_apart
from rillflow.core.state import ExecutionState, GroupState, InvokeMsg, TaskState
from rillflow.errors import StoreError
from rillflow.jsontypes import JsonValue
from rillflow.testing import Scenario
from tests.spec.notation import each, fn, scenario

TEXT: Final = "long " * 20_000
ITEMS: Final = 50
APART: Final = bytes([codec.APART_FORMAT])


def kept(**fields: Any) -> ExecutionState:
    """Return a state that has made much."""
    return ExecutionState(
        execution_id="demo:flow_c_1",
        definition_id="d",
        host="h",
        made_bytes=LEAST_BYTES,
        **fields,
    )


def with_inputs(*inputs: dict[str, Any], **fields: Any) -> ExecutionState:
    tasks = {
        f"T{number}": TaskState(name=f"T{number}", base="T", invoke=InvokeMsg(input=value))
        for number, value in enumerate(inputs)
    }
    return kept(tasks=tasks, **fields)


def both_read(state: ExecutionState) -> ExecutionState:
    """Write and read a state in each way that there is."""
    snapshot = codec.encode_large_state(state)
    read = codec.decode_large_state(snapshot)
    assert read == codec.decode_state(snapshot) == state
    assert codec.decode_state(bytes([codec.FORMAT]) + codec.snapshot_text(snapshot)) == state
    packed = codec.pack_state(state)
    assert packed is not None
    assert codec.unpack_state(packed) == state
    return read


def of_many_inputs() -> Scenario:
    """Run a foreach whose calls all have the same long text."""
    rules = [
        {"source": TEXT, "target": "$.input.text"},
        {"source": "$.context.item", "target": "$.input.item"},
    ]
    run = scenario(each("E", "items", fn("A", ins=rules), ins="items"))
    run.submit({"items": list(range(ITEMS))})
    return run


def test_a_text_of_many_inputs_is_written_once_and_read_as_one() -> None:
    run = of_many_inputs()
    state = run.state
    assert len(codec.encode_state(state)) > ITEMS * len(TEXT)
    snapshot = codec.encode_large_state(state)
    assert snapshot[:1] == APART
    assert len(snapshot) < 2 * len(TEXT)
    packed = codec.pack_state(state)
    assert packed is not None
    assert len(packed) < 2 * len(TEXT)
    read = both_read(state)
    texts = {id((task.invoke.input or {})["text"]) for task in read.tasks.values() if task.route}
    assert len(texts) == 1


def test_an_execution_goes_on_from_such_a_snapshot_as_it_would_have() -> None:
    run = of_many_inputs()
    read = codec.decode_large_state(codec.encode_large_state(run.state))
    before = len(run.journal)
    run.finish("E_0-A", {"x": 1})
    for event in run.journal[before:]:
        machine.handle(run.plan, read, event)
    assert codec.encode_state(read) == codec.encode_state(run.state)


def test_containers_are_shared_and_what_they_share_among_themselves() -> None:
    pairs = [{"text": TEXT, "number": number, "more": [[]] * 20} for number in range(ITEMS)]
    state = with_inputs(*({"a": pair, "b": [pair]} for pair in pairs), context={"last": pairs[-1]})
    snapshot = codec.encode_large_state(state)
    assert len(snapshot) < 2 * len(TEXT)
    read = both_read(state)
    last = read.tasks[f"T{ITEMS - 1}"].invoke.input or {}
    assert last["a"] is last["b"][0] is read.context["last"]


def test_groups_and_outputs_share_too() -> None:
    large = {"text": TEXT}
    groups = {"G_0": GroupState(route="G_0", parent="G", index=0, context={"x": large})}
    task = TaskState(name="T", base="T", invoke=InvokeMsg(output={"y": large}))
    state = kept(groups=groups, tasks={"T": task}, context={"z": large})
    assert len(codec.encode_large_state(state)) < 2 * len(TEXT)
    before = codec.encode_state(state)
    read = both_read(state)
    assert codec.encode_state(state) == before, "the state itself is not changed"
    assert read.groups["G_0"].context["x"] is read.context["z"]


def test_what_is_small_or_not_shared_is_written_as_ever() -> None:
    short = "x" * (LONG_CHARS - 1)
    states = [
        with_inputs({"text": short}, {"text": short}),
        with_inputs({"text": "x" * LONG_CHARS}, {"text": "y" * LONG_CHARS}),
        with_inputs({"list": [1, 2]}, {"list": [1, 2]}),
        with_inputs(),
    ]
    for state in states:
        assert values_apart(state) is None
        assert codec.encode_large_state(state)[0] == codec.FORMAT
        both_read(state)
    shared = with_inputs({"text": TEXT}, {"text": TEXT})
    shared.made_bytes = LEAST_BYTES - 1
    assert values_apart(shared) is None


OLD: Final = (
    b'\x01{"execution_id":"demo:flow_c_1","definition_id":"d","host":"h","context":{"a":[1]},'
    b'"tasks":{"A":{"name":"A","base":"A","invoke":{"input":{"x":"text"}}}},"groups":{}}'
)
NEW: Final = (
    b'\x02{"shared":[{"t":null,"n":1},"text"],"places":[[0,["context","a",0]],'
    b'[0,["tasks","A","invoke","input","x"]],[1,["shared",0,"t"]],[1,["groups","G_0","context","g"]]],'
    b'"state":{"execution_id":"demo:flow_c_1","definition_id":"d","host":"h","context":{"a":[null]},'
    b'"tasks":{"A":{"name":"A","base":"A","invoke":{"input":{"x":null}}}},'
    b'"groups":{"G_0":{"route":"G_0","parent":"G","index":0,"context":{"g":null}}}}}'
)


@pytest.mark.parametrize("read", [codec.decode_state, codec.decode_large_state])
def test_snapshots_of_earlier_releases_are_read(read: Any) -> None:
    old = read(OLD)
    assert (old.context, old.tasks["A"].invoke.input) == ({"a": [1]}, {"x": "text"})
    new = read(NEW)
    whole = {"t": "text", "n": 1}
    assert (new.context, new.tasks["A"].invoke.input) == ({"a": [whole]}, {"x": whole})
    assert new.context["a"][0] is new.tasks["A"].invoke.input["x"]
    assert new.groups["G_0"].context == {"g": "text"}


@pytest.mark.parametrize(
    "places",
    [
        b'[[0,["context","b","c"]]]',
        b'[[0,["context","a",7]]]',
        b'[[9,["context","a",0]]]',
        b'[[0,["nothing","a"]]]',
        b'[[0,["tasks","B","invoke","input","x"]]]',
        b'[[0,["shared",5,"x"]]]',
        b"[[0,[]]]",
        b'[[0,["context"]]]',
        b'[["a",["context","a",0]]]',
        b'{"a":1}',
        b"[",
    ],
)
def test_places_that_do_not_exist_are_damage(places: bytes) -> None:
    start, end = NEW.index(b'[[0,["context"'), NEW.index(b',"state"')
    damaged = NEW[:start] + places + NEW[end:]
    for read in (codec.decode_state, codec.decode_large_state, codec.snapshot_text):
        with pytest.raises(StoreError, match="snapshot cannot be read"):
            read(damaged)


def json_values(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4)
        ),
        max_leaves=8,
    )


@given(st.data())
def test_whatever_is_shared_is_read_as_it_was(data: st.DataObject) -> None:
    texts = ["t" * LONG_CHARS, "u" * LONG_CHARS]
    leaves = st.sampled_from([*texts, "short", 1, None, 10**30, 1.5, True])
    pool: list[JsonValue] = data.draw(st.lists(json_values(leaves), min_size=1, max_size=4))
    values = st.dictionaries(
        st.sampled_from("abc"), json_values(leaves | st.sampled_from(pool)), max_size=3
    )
    inputs = data.draw(st.lists(values, max_size=4))
    state = with_inputs(*inputs, context=data.draw(values))
    before = codec.encode_state(state)
    snapshot = codec.encode_large_state(state)
    assert codec.encode_state(state) == before
    for read in (codec.decode_state, codec.decode_large_state):
        assert codec.encode_state(read(snapshot)) == before
    text = codec.snapshot_text(snapshot)
    assert codec.encode_state(codec.decode_state(bytes([codec.FORMAT]) + text)) == before


def called_by(work: Callable[[], object]) -> set[str]:
    """Return the names of the functions that a work calls."""
    names: set[str] = set()
    sys.setprofile(lambda frame, *_: names.add(frame.f_code.co_name))
    try:
        work()
    finally:
        sys.setprofile(None)
    return names


@pytest.mark.parametrize("is_shared", [False, True])
def test_no_decoder_passes_over_more_than_a_part_of_a_large_snapshot(*, is_shared: bool) -> None:
    """It would hold the interpreter for as long as that takes, whatever the thread."""
    texts = [f"\t}}{number}" * LONG_CHARS for number in range(ITEMS)]
    inputs = [{"text": [text, {"]\t": text}]} for text in texts]
    routes = [f"E_{number}" for number in range(ITEMS)]
    groups = {route: GroupState(route=route, parent="E", index=0) for route in routes}
    if is_shared:
        for group, value in zip(groups.values(), inputs, strict=True):
            group.context["again"] = value["text"]
    state = with_inputs(*inputs, groups=groups)
    state.made_bytes = LEAST_BYTES if is_shared else 0
    snapshot = codec.encode_large_state(state)
    assert snapshot.startswith(APART) == is_shared
    for before in (snapshot, snapshot.replace(b"\t", b"")):
        assert codec.decode_large_state(before) == codec.decode_state(before) == state
    assert max(map(len, snapshot.split(b"\t"))) < 4 * len(snapshot) // ITEMS
    as_a_whole = codec._decoded.__name__
    assert as_a_whole not in called_by(lambda: codec.decode_large_state(snapshot))
    assert as_a_whole in called_by(lambda: codec.decode_state(snapshot))
    for end in (1, 100, len(snapshot) // 2, len(snapshot) - 1):
        with pytest.raises(StoreError):
            codec.decode_large_state(snapshot[:end])
