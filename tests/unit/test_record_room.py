"""Records that are under way take so much memory, of one trigger and of all."""

from rillflow.gateways.kafka.record_room import (
    MOST_BYTES,
    MOST_OF_ONE_BYTES,
    SMALL_BYTES,
    OwnRoom,
    RecordRoom,
)


def test_a_trigger_takes_so_much_and_again_what_it_has_given_back() -> None:
    room = RecordRoom()
    one = OwnRoom(room)
    assert one.take(1, MOST_OF_ONE_BYTES - 1)
    assert not one.take(2, 2)
    assert one.take(2, 1)
    one.give_back(1)
    one.give_back(1)
    assert room.taken_bytes == 1
    assert one.take(1, MOST_OF_ONE_BYTES - 1)
    one.close()
    assert room.taken_bytes == 0


def test_a_single_record_may_be_larger_while_no_other_trigger_needs_the_room() -> None:
    room = RecordRoom()
    one, other = OwnRoom(room), OwnRoom(room)
    assert one.take(1, 2 * MOST_BYTES)
    assert not one.take(1, 1)
    assert not other.take(1, SMALL_BYTES + 1)
    assert other.take(1, SMALL_BYTES), "a small record is taken in any case"
    assert not other.take(1, 1)
    one.close()
    assert other.take(1, 1)


def test_all_triggers_together_take_so_much() -> None:
    room = RecordRoom()
    triggers = [OwnRoom(room) for _ in range(100)]
    took = [each.take(0, MOST_OF_ONE_BYTES) for each in triggers]
    assert took.count(True) == MOST_BYTES // MOST_OF_ONE_BYTES
    assert room.taken_bytes == MOST_BYTES
