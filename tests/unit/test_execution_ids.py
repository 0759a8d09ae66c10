"""Execution ids tell their submit time, as Rill Flow's do, whether an actor is their own, and
nothing by which another id could be guessed."""

import math
import os
import uuid
from typing import Final

import pytest

from rillflow.actors.names import dedicated_actor_name, is_dedicated_actor
from rillflow.ids import (
    ID_KEY_BYTES,
    child_execution_id,
    child_id_key,
    is_dedicated,
    new_execution_id,
    submitted_at_ms,
)

AT_MS: Final = 1_795_600_000_123
UNIX_EPOCH_TICKS: Final = 122_192_928_000_000_000
ENTROPY: Final = [bytes(10), b"\xff" * 10, bytes(range(10))]


@pytest.mark.parametrize("dedicated", [False, True])
@pytest.mark.parametrize("entropy", ENTROPY)
def test_an_id_has_a_uuid_of_version_1_that_tells_the_time(
    entropy: bytes, *, dedicated: bool
) -> None:
    made = new_execution_id("shop", "order", at_ms=AT_MS, entropy=entropy, dedicated=dedicated)
    service, _, digits = made.partition("_c_")
    number = uuid.UUID(digits)
    assert service == "shop:order"
    assert (number.version, number.variant) == (1, uuid.RFC_4122)
    assert (number.time - UNIX_EPOCH_TICKS) // 10_000 == AT_MS
    assert submitted_at_ms(made) == AT_MS
    assert is_dedicated(made) is dedicated


def test_its_node_is_no_machine_and_what_is_random_differs() -> None:
    made = {new_execution_id("b", "f", at_ms=AT_MS, entropy=entropy) for entropy in ENTROPY}
    assert len(made) == len(ENTROPY)
    assert all(uuid.UUID(one.partition("_c_")[2]).node >> 40 & 1 for one in made)


@pytest.mark.parametrize(
    ("earlier", "dedicated"),
    [
        ("01890a5d-ac96-774a-bcce-b302099a8057", False),
        ("01890a5d-ac96-774b-bcce-b302099a8057", True),
    ],
)
def test_ids_of_earlier_releases_are_read_as_they_were_meant(
    earlier: str, *, dedicated: bool
) -> None:
    assert submitted_at_ms(f"b:f_c_{earlier}") == 0x01890A5DAC96
    assert is_dedicated(f"b:f_c_{earlier}") is dedicated


def test_whoever_knows_the_time_has_73_bits_to_guess() -> None:
    made = [
        _number(new_execution_id("b", "f", at_ms=AT_MS, entropy=os.urandom(10))) for _ in "1" * 400
    ]
    low, tick = [number & (1 << 64) - 1 for number in made], [number >> 64 for number in made]
    varying = sum(len({each >> bit & 1 for each in low}) == 2 for bit in range(64))
    assert varying == 60
    assert len(set(tick)) > 380
    last = new_execution_id("b", "f", at_ms=AT_MS, entropy=bytes(8) + (9_999).to_bytes(2))
    first = new_execution_id("b", "f", at_ms=AT_MS, entropy=bytes(10))
    ticks = uuid.UUID(last.partition("_c_")[2]).time - uuid.UUID(first.partition("_c_")[2]).time
    assert varying + math.log2(ticks) > 73


def _number(execution_id: str) -> int:
    return uuid.UUID(execution_id.partition("_c_")[2]).int


def child(attempt: int = 1, *, parent: str = "b:f_c_x", key: bytes = bytes(ID_KEY_BYTES)) -> str:
    return child_execution_id("b", "f", attempt=(parent, "A", attempt), at_ms=AT_MS, key=key)


def test_an_attempt_starts_one_child_however_often_it_is_repeated() -> None:
    assert child(1) == child(1)
    assert len({child(1), child(2), child(1, parent="b:f_c_y")}) == 3


def test_a_child_is_found_by_those_only_who_know_its_parents_key() -> None:
    keys = [os.urandom(ID_KEY_BYTES) for _ in "abc"]
    assert len({child(key=key) for key in keys}) == len(keys)
    assert all(submitted_at_ms(child(key=key)) == AT_MS for key in keys)


def test_keys_of_children_differ_and_are_the_same_for_a_repetition() -> None:
    key, attempt = os.urandom(ID_KEY_BYTES), ("b:f_c_x", "A", 1)
    derived = child_id_key(attempt, key=key)
    assert derived == child_id_key(attempt, key=key)
    assert len({key, derived, child_id_key(("b:f_c_x", "A", 2), key=key)}) == 3
    assert derived[:10].hex() not in child(key=key).replace("-", "")


def test_executions_of_earlier_releases_find_the_sub_flows_that_they_started() -> None:
    started = "b:f_c_1d2a5ee5-e8b5-11f1-a00e-375c4308bf76"
    assert child(key=b"") == started


def test_the_name_of_an_actor_tells_nothing_of_the_execution_that_it_is_for() -> None:
    made = [
        new_execution_id("shop", "order", at_ms=AT_MS, entropy=entropy, dedicated=True)
        for entropy in ENTROPY
    ]
    names = [dedicated_actor_name(each) for each in made]
    assert len(set(names)) == len(made)
    assert names == [dedicated_actor_name(each) for each in made]
    assert all(map(is_dedicated_actor, names))
    assert not is_dedicated_actor("rillflow:execution:0")
    for execution_id, name in zip(made, names, strict=True):
        parts = execution_id.replace("-", ":").replace("_c_", ":").split(":")
        assert not [part for part in parts if part in name]
