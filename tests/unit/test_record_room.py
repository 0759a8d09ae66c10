"""Records that are under way take so much memory, of one trigger, of a workspace and of all."""

from typing import Final

from rillflow.gateways.kafka.record_room import (
    FIRST_BYTES,
    MOST_BYTES,
    MOST_OF_ONE_BYTES,
    MOST_OF_WORKSPACE_BYTES,
    OwnRoom,
    RecordRoom,
)

LARGE: Final = 4 << 20


def held_by(room: RecordRoom, workspace: str, size_bytes: int = LARGE) -> int:
    """Have many triggers of a workspace take records that they do not give back; count them."""
    triggers = [OwnRoom(room, workspace) for _ in range(50)]
    return [each.take(0, size_bytes) for each in triggers].count(True)


def test_a_trigger_takes_so_much_and_again_what_it_has_given_back() -> None:
    room = RecordRoom()
    one = OwnRoom(room, "a")
    assert one.take(1, MOST_OF_ONE_BYTES - 1)
    assert not one.take(2, 2)
    assert one.take(2, 1)
    assert one.is_full
    one.give_back(1)
    one.give_back(1)
    assert room.taken_bytes == {"a": 1}
    assert one.take(1, MOST_OF_ONE_BYTES - 1)
    one.close()
    assert room.taken_bytes == {}


def test_a_single_record_may_be_larger_than_the_room() -> None:
    room = RecordRoom()
    one, other, third = (OwnRoom(room, each) for each in ("a", "a", "b"))
    assert one.take(1, 2 * MOST_BYTES)
    assert not one.take(1, 1)
    assert not other.take(1, FIRST_BYTES + 1)
    assert third.take(1, MOST_OF_WORKSPACE_BYTES), "the others have their half"
    one.close()
    assert other.take(1, FIRST_BYTES + 1)


def test_a_workspace_takes_a_half_and_leaves_the_other_to_the_others() -> None:
    room = RecordRoom()
    assert held_by(room, "a") == MOST_OF_WORKSPACE_BYTES // LARGE
    assert held_by(room, "b") == MOST_OF_WORKSPACE_BYTES // LARGE
    assert held_by(room, "c") == 0


def test_all_triggers_together_take_so_much() -> None:
    room = RecordRoom()
    for number in range(10):
        held_by(room, f"workspace{number}")
    assert room.taken_bytes.total() == MOST_BYTES


def test_a_trigger_with_nothing_under_way_takes_a_record_of_ordinary_size_in_any_case() -> None:
    room = RecordRoom()
    for workspace in ("a", "b"):
        held_by(room, workspace)
    for workspace in ("a", "c"):
        one = OwnRoom(room, workspace)
        assert one.take(1, FIRST_BYTES - 1)
        assert not one.take(2, 1)
        assert one.is_full
        one.give_back(1)
        assert one.take(2, FIRST_BYTES)


def test_what_a_mapping_adds_to_records_is_no_loss_to_other_workspaces() -> None:
    room = RecordRoom()
    for _ in range(50):
        one = OwnRoom(room, "a")
        assert one.take(0, FIRST_BYTES)
        one.add(0, LARGE)
    assert room.taken_bytes["a"] > MOST_BYTES
    assert held_by(room, "b") == MOST_OF_WORKSPACE_BYTES // LARGE
