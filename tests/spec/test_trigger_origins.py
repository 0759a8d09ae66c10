"""The idempotency key of an execution tells which trigger has started it, and how."""

import pytest

from rillflow.runtime.triggers.sources.reading import key_of_event
from rillflow.triggers.origins import MOST_CANDIDATES, Origin, candidates, origin_of
from rillflow.triggers.schedule import key_of_firing

AT_MS = 1_764_237_600_000


@pytest.mark.parametrize("trigger_id", ["1", "nightly", "shop:order:release/nightly", "a/b/c"])
def test_a_key_tells_its_trigger_whatever_the_id(trigger_id: str) -> None:
    known = {trigger_id}
    assert origin_of(key_of_firing(trigger_id, AT_MS), known) == Origin(
        trigger_id, "schedule", AT_MS
    )
    by_hand = f"trigger/{trigger_id}/by-hand/{'f' * 32}"
    assert origin_of(by_hand, known) == Origin(trigger_id, "by_hand")
    for event in ("orders/3/17/99", "delivery/abc", "body/abc/5", "/in/file.txt"):
        assert origin_of(key_of_event(trigger_id, event), known) == Origin(trigger_id, "event")
        assert trigger_id in candidates(key_of_event(trigger_id, event))


def test_a_trigger_that_is_gone_is_guessed_by_the_end_of_the_key() -> None:
    assert origin_of(f"trigger/a/b/{AT_MS}", ()) == Origin("a/b", "schedule", AT_MS)
    assert origin_of("trigger/a/b/by-hand/x", ()) == Origin("a/b", "by_hand")
    assert origin_of("trigger/orders/orders/3/17", ()) == Origin("orders", "event")


def test_of_several_triggers_the_one_with_the_longest_id_is_meant() -> None:
    assert origin_of(f"trigger/a/b/{AT_MS}", {"a", "a/b"}) == Origin("a/b", "schedule", AT_MS)


def test_the_key_of_a_long_event_does_not_tell_its_trigger() -> None:
    key = key_of_event("orders", "x" * 300)
    assert candidates(key) == []
    assert origin_of(key, {"orders"}) == Origin("", "event")


@pytest.mark.parametrize("key", ["", "order-17", "triggers/x/1", "Trigger/x/1"])
def test_other_keys_tell_no_trigger(key: str) -> None:
    assert origin_of(key, {"x"}) is None


@pytest.mark.parametrize(
    "key", ["trigger/", "trigger/x", "trigger//1", f"trigger/x/{'9' * 200}", "trigger/" + "/" * 240]
)
def test_a_made_up_key_has_few_candidates_and_no_time(key: str) -> None:
    found = origin_of(key, set(candidates(key)))
    assert found is not None
    assert found.scheduled_ms is None
    assert len(candidates(key)) <= MOST_CANDIDATES
