"""The event loop of each process of a running stack is measured, and shown to operators."""

from tests.cluster.api import Api

OF_REPLICA = "replica"


def test_every_process_tells_its_longest_turn(api: Api) -> None:
    shown = api.ask("GET", "/flow/event_loops.json").body["event_loops"]
    names = [each["process"] for each in shown]
    assert names[0] == OF_REPLICA
    assert {name.split(":")[1] for name in names[1:]} == {"execution", "dispatcher"}
    assert all(each["reached"] for each in shown)
    assert len({each["pid"] for each in shown}) == len(shown)
    for each in shown:
        assert each["longest_ms"] >= each["longest_of_minute_ms"] >= 0
