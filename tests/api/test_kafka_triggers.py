"""Kafka triggers over HTTP, as in spec 7.1 and in our form; none of it needs a broker."""

import asyncio
import json
import re
import socket
import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest
from typer.testing import CliRunner

import rillflow
from rillflow.cli import app
from rillflow.cli.commands.triggers import line_of
from rillflow.definition import parse_definition
from rillflow.errors import DefinitionError
from tests.api.definition_texts import PASS
from tests.api.serving import LONG_S, Api, served

pytestmark = pytest.mark.asyncio(loop_scope="module")

BROKERS: Final = ("127.0.0.1", "localhost")
ADD: Final = "/flow/trigger/add_trigger.json"
CANCEL: Final = "/flow/trigger/cancel_trigger.json"
TASKS: Final = "/flow/trigger/get_trigger_tasks.json"
OURS: Final = "/flow/triggers"
WHOLE: Final = {"kafka_server": "127.0.0.1:1", "group_id": "g", "topic": "names"}
QUERY: Final = {"type": "kafka", "descriptor_id": "shop:order"}
KAFKA: Final[dict[str, Any]] = {"brokers": "127.0.0.1:1", "topic": "names"}


@pytest.fixture(name="closed_port")
def _closed_port() -> Iterator[int]:
    """Give a port at which nobody listens, and nobody else will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def in_state(api: Api, trigger_id: str, state: str) -> dict[str, Any]:
    """Return a trigger once its source is in a state."""
    async with asyncio.timeout(LONG_S):
        while True:
            shown = await api.get(f"{OURS}/show.json", trigger_id=trigger_id)
            if shown["state"] == state:
                return dict(shown)


async def test_a_kafka_trigger_is_added_listed_and_cancelled_in_the_form_of_rill_flow() -> None:
    async with served() as api:
        assert await api.post(ADD, WHOLE, **QUERY) == {"code": 0}
        again = await api.post(ADD, WHOLE, **QUERY)
        assert again == {"code": -1, "message": "task has already existed"}
        details = {"descriptor_id": "shop:order", "uid": 127001, **WHOLE}
        assert await api.get(TASKS, type="kafka") == {
            "code": 0,
            "data": {"names#shop:order": details},
        }
        assert await api.get(TASKS, type="cron") == {"code": 0, "data": {}}
        other = QUERY | {"descriptor_id": "shop:other"}
        assert await api.post(ADD, WHOLE, **other) == {"code": 0}
        task = {"type": "kafka", "task_id": "names#shop:order"}
        assert await api.post(CANCEL, **(task | {"type": "cron"})) == {"code": -1}
        assert await api.post(CANCEL, **task) == {"code": 0}
        assert await api.post(CANCEL, **task) == {"code": -1}
        assert list((await api.get(TASKS, type="kafka"))["data"]) == ["names#shop:other"]
        assert await api.post(ADD, WHOLE, **QUERY) == {"code": 0}


async def test_it_is_kept_with_its_options_also_by_a_new_server() -> None:
    async with served() as api:
        store = api.stack.store
        params = QUERY | {"callback": "http://127.0.0.1:9/done"}
        assert await api.post(ADD, WHOLE | {"note": "mine"}, **params) == {"code": 0}
        before = await api.get(TASKS, type="kafka")
    async with served(store=store) as again:
        assert await again.get(TASKS, type="kafka") == before
        assert before["data"]["names#shop:order"]["note"] == "mine"
        shown = await again.get(f"{OURS}/show.json", trigger_id="names#shop:order")
        assert '"http://127.0.0.1:9/done"' in shown["callback"]


@pytest.mark.parametrize("name", list(WHOLE))
@pytest.mark.parametrize("value", [None, "", " ", 5, "a b!"])
async def test_a_field_that_is_missing_or_malformed_is_30112(
    shared_api: Api, name: str, value: Any
) -> None:
    body = {**WHOLE, name: value}
    if (name, value) == ("group_id", "a b!"):
        return  # a group may have any name
    refusal = (400, 30112, "kafka trigger add trigger error")
    assert await shared_api.refusal(ADD, body, **QUERY) == refusal
    assert (await shared_api.get(TASKS, type="kafka"))["data"] == {}


async def test_what_else_is_wrong_is_refused_as_for_cron(shared_api: Api) -> None:
    malformed = QUERY | {"descriptor_id": "shop"}
    refusal = (400, 30109, "dagDescriptorId:shop format error")
    assert await shared_api.refusal(ADD, WHOLE, **malformed) == refusal
    nowhere = QUERY | {"callback": "nonsense"}
    assert (await shared_api.refusal(ADD, WHOLE, **nowhere))[:2] == (500, 30603)
    assert (await shared_api.refusal(ADD, "[1]", **QUERY))[:2] == (422, 30109)


async def test_a_trigger_of_ours_shows_what_its_author_wrote() -> None:
    async with served() as api:
        kafka = {
            "brokers": "kafka-1.test, [2001:db8::1]:9093",
            "topic": "orders",
            "group": "mine",
            "offset_reset": "latest",
            "value_format": "text",
            "mapping": {"user": "$.key", "text": "$.value"},
            "filters": {"$.headers.kind": ["new", "old"]},
            "dead_letter_topic": "dead",
            "tls": True,
            "user": "u",
            "password": "${secret:KAFKA}",
        }
        new = {"id": "k", "descriptor_id": "shop:order", "kafka": kafka, "paused": True}
        added = await api.post(f"{OURS}/add.json", new)
        assert added["kafka"] == kafka | {
            "brokers": ["kafka-1.test:9092", "[2001:db8::1]:9093"],
            "key_format": "text",
            "sasl_mechanism": "SCRAM-SHA-512",
        }
        assert (added["type"], added["paused"], added["state"]) == ("kafka", True, "")
        assert "cron" not in added
        assert "next_ms" not in added
        again = await api.post(f"{OURS}/add.json", added | {"replace": True})
        assert again["kafka"] == added["kafka"], "what is shown can be added"
        listed = (await api.get(TASKS, type="kafka"))["data"]["k"]
        assert listed == {
            "descriptor_id": "shop:order",
            "uid": None,
            "kafka_server": "kafka-1.test:9092,[2001:db8::1]:9093",
            "group_id": "mine",
            "topic": "orders",
        }
        span = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-01T05:30:00Z"}
        refusal = await api.refusal(f"{OURS}/backfill.json", trigger_id="k", **span)
        assert refusal == (400, 30110, "only a cron trigger has scheduled times")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kafka": "x"}, "kafka must be an object"),
        ({"kafka": {}}, "brokers are 1 to 20 addresses"),
        ({"cron": "@daily"}, "one of cron, kafka"),
        ({"overlap": "skip"}, "overlap is for triggers that have cron"),
        ({"kafka": KAFKA | {"x" * 99: 1}}, "kafka has no field"),
        ({"kafka": KAFKA | {"brokers": []}}, "brokers are 1 to 20 addresses"),
        ({"kafka": KAFKA | {"brokers": ["a"] * 21}}, "brokers are 1 to 20 addresses"),
        ({"kafka": KAFKA | {"brokers": "a:b:1"}}, "is no address of a broker"),
        ({"kafka": KAFKA | {"brokers": "http://a:1"}}, "is no address of a broker"),
        ({"kafka": KAFKA | {"brokers": "a:65536"}}, "is no address of a broker"),
        ({"kafka": KAFKA | {"brokers": "a:0"}}, "is no address of a broker"),
        ({"kafka": KAFKA | {"brokers": "a\n:1"}}, "is no address of a broker"),
        ({"kafka": KAFKA | {"topic": "a/b"}}, "topic has 1 to 249 letters"),
        ({"kafka": KAFKA | {"topic": ".."}}, "topic has 1 to 249 letters"),
        ({"kafka": KAFKA | {"topic": "x" * 250}}, "topic has 1 to 249 letters"),
        ({"kafka": KAFKA | {"group": "x" * 256}}, "group is the name of a group"),
        ({"kafka": KAFKA | {"group": "a\0"}}, "group is the name of a group"),
        ({"kafka": KAFKA | {"offset_reset": "first"}}, "offset_reset is one of earliest, latest"),
        ({"kafka": KAFKA | {"value_format": "avro"}}, "value_format is one of json, text, bytes"),
        ({"kafka": KAFKA | {"mapping": {"a": "value"}}}, "mapping needs paths such as"),
        ({"kafka": KAFKA | {"mapping": {"a": "$.["}}}, "is no path"),
        ({"kafka": KAFKA | {"mapping": {"a": 1}}}, "mapping needs paths such as"),
        ({"kafka": KAFKA | {"mapping": {f"{i}": "$.a" for i in range(51)}}}, "up to 50 fields"),
        ({"kafka": KAFKA | {"filters": {"key": 1}}}, "filters needs paths such as"),
        ({"kafka": KAFKA | {"filters": ["$.a"]}}, "filters has up to 50 fields"),
        ({"kafka": KAFKA | {"filters": {"$.a": "x" * 20_000}}}, "kafka has up to 16384 bytes"),
        ({"kafka": KAFKA | {"dead_letter_topic": "names"}}, "must not be the topic itself"),
        ({"kafka": KAFKA | {"tls": "yes"}}, "tls must be true or false"),
        ({"kafka": KAFKA | {"user": "u"}}, "password must be a reference to a secret"),
        ({"kafka": KAFKA | {"user": "u", "password": "pw"}}, "a reference to a secret"),
        ({"kafka": KAFKA | {"password": "${secret:A}"}}, "user is the name"),
        ({"kafka": KAFKA | {"sasl_mechanism": "PLAIN"}}, "needs user and password"),
        (
            {"kafka": KAFKA | {"user": "u", "password": "${secret:A}", "sasl_mechanism": "PLAIN"}},
            "PLAIN sends the password as it is",
        ),
    ],
)
async def test_what_is_wrong_with_a_kafka_trigger_is_told(
    shared_api: Api, change: dict[str, Any], reason: str
) -> None:
    new = {"id": "k", "descriptor_id": "shop:order", "kafka": KAFKA} | change
    status, code, message = await shared_api.refusal(f"{OURS}/add.json", new)
    assert (status, code) == (400, 30109)
    assert reason in message
    assert "pw" not in message


async def test_a_broker_that_is_not_there_is_told_and_since_when(closed_port: int) -> None:
    async with served(kafka_brokers=BROKERS) as api:
        kafka = {"brokers": f"127.0.0.1:{closed_port}", "topic": "names"}
        new = {"id": "k", "descriptor_id": "shop:order", "kafka": kafka}
        added = await api.post(f"{OURS}/add.json", new)
        shown = await in_state(api, "k", "failed")
        assert f"127.0.0.1:{closed_port}" in shown["state_reason"]
        assert shown["state_ms"] >= added["created_ms"]


async def test_a_broker_that_the_egress_rules_deny_is_not_connected_to() -> None:
    with socket.socket() as broker:
        broker.bind(("127.0.0.1", 0))
        broker.listen()
        broker.settimeout(0)
        async with served(kafka_brokers=BROKERS, egress_private=False) as api:
            for name, host in (("number", "127.0.0.1"), ("word", "localhost")):
                kafka = {"brokers": f"{host}:{broker.getsockname()[1]}", "topic": "names"}
                new = {"id": name, "descriptor_id": "shop:order", "kafka": kafka}
                await api.post(f"{OURS}/add.json", new)
                shown = await in_state(api, name, "failed")
                assert f"egress to {host}" in shown["state_reason"]
                assert "set egress_private" in shown["state_reason"]
        with pytest.raises(BlockingIOError):
            broker.accept()


@pytest.mark.parametrize("named", [(), ("localhost",), ("127.0.0.1:2",)])
async def test_a_broker_that_the_operator_does_not_name_is_not_connected_to(
    named: tuple[str, ...],
) -> None:
    async with served(kafka_brokers=named) as api:
        new = {"id": "k", "descriptor_id": "shop:order", "kafka": KAFKA}
        await api.post(f"{OURS}/add.json", new)
        shown = await in_state(api, "k", "failed")
        assert shown["state_reason"] == (
            "triggers may not read from 127.0.0.1:1: kafka_brokers (RILLFLOW_KAFKA_BROKERS) names"
            " the brokers from which they may"
        )


@pytest.mark.parametrize(
    ("allowed", "topic", "said"),
    [
        ({}, "orders", "*dlq, *dlt"),
        ({"kafka_dead_letter_topics": {}}, "names-dead", ": none"),
        ({"kafka_dead_letter_topics": {"press": "*", "*": "shop-*"}}, "dead", ": shop-*"),
        ({"kafka_dead_letter_topics": {"press": "*", "shop": "a-*,b"}}, "bb", ": a-*, b"),
    ],
)
async def test_dead_letters_go_to_topics_of_the_workspace_only(
    allowed: dict[str, Any], topic: str, said: str
) -> None:
    """A topic that others read is none for dead letters."""
    async with served(kafka_brokers=BROKERS, **allowed) as api:
        new = {"descriptor_id": "shop:order", "kafka": KAFKA | {"dead_letter_topic": topic}}
        await api.post(f"{OURS}/add.json", new | {"id": "k"})
        shown = await in_state(api, "k", "failed")
        told = f"triggers of this workspace may not send dead letters to {topic}: kafka_dead_letter"
        assert shown["state_reason"].startswith(told)
        assert said in shown["state_reason"]


@pytest.mark.parametrize(
    ("allowed", "topic"),
    [
        ({}, "orders.DLT"),
        ({}, "orders-dead-letters"),
        ({"kafka_dead_letter_topics": {"shop": ["orders-*"], "*": []}}, "orders-x"),
        ({"kafka_dead_letter_topics": {"*": ["x"]}}, "x"),
    ],
)
async def test_with_a_topic_that_its_workspace_may_name_a_trigger_connects(
    closed_port: int, allowed: dict[str, Any], topic: str
) -> None:
    async with served(kafka_brokers=BROKERS, **allowed) as api:
        kafka = KAFKA | {"brokers": f"127.0.0.1:{closed_port}", "dead_letter_topic": topic}
        await api.post(
            f"{OURS}/add.json", {"id": "k", "descriptor_id": "shop:order", "kafka": kafka}
        )
        shown = await in_state(api, "k", "failed")
        assert "cannot be reached" in shown["state_reason"]


async def test_a_secret_that_is_not_known_is_named_and_no_other() -> None:
    async with served(kafka_brokers=BROKERS) as api:
        kafka = KAFKA | {"user": "u", "password": "${secret:NOT_THERE}"}
        new = {"id": "k", "descriptor_id": "shop:order", "kafka": kafka}
        await api.post(f"{OURS}/add.json", new)
        shown = await in_state(api, "k", "failed")
        assert "the secret NOT_THERE is not known here" in shown["state_reason"]


DECLARED: Final = """triggers:
  - name: records
    kafka:
      brokers: 127.0.0.1:1
      topic: names
      offsetReset: latest
      mapping: { name: $.value.name }
      deadLetterTopic: dead
"""


async def test_a_definition_declares_a_kafka_trigger() -> None:
    async with served() as api:
        await api.add(f"{PASS}{DECLARED}")
        shown = await api.get(f"{OURS}/show.json", trigger_id="shop:order:release/records")
        assert shown["kafka"] == {
            "brokers": ["127.0.0.1:1"],
            "topic": "names",
            "offset_reset": "latest",
            "key_format": "text",
            "value_format": "json",
            "mapping": {"name": "$.value.name"},
            "dead_letter_topic": "dead",
        }
        await api.add(PASS)
        assert (await api.get(TASKS, type="kafka"))["data"] == {}


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "reason"),
    [
        ("topic: names", "topic: a/b", 5, 14, "topic has 1 to 249"),
        ("offsetReset: latest", "offsetReset: first", 6, 20, "offset_reset is one of"),
        ("deadLetterTopic: dead", "deadLetterTopic: names", 8, 24, "must not be the topic itself"),
        ("{ name: $.value.name }", "{ name: value }", 7, 16, "mapping needs paths"),
        ("deadLetterTopic: dead", "deadLetters: dead", 8, 7, "deadLetters"),
        ("      brokers: 127.0.0.1:1\n", "", 4, 7, "brokers are 1 to 20"),
    ],
)
async def test_what_is_wrong_with_a_declared_one_is_told_with_its_place(
    old: str, new: str, line: int, column: int, reason: str
) -> None:
    assert old in DECLARED
    with pytest.raises(DefinitionError, match=re.escape(reason)) as caught:
        parse_definition(f"{DECLARED.replace(old, new)}{PASS}")
    [problem] = [each for each in caught.value.problems if each.severity == "error"]
    assert reason in problem.message
    assert (problem.line, problem.column) == (line, column)


async def test_a_type_that_no_package_adds_is_refused_in_a_definition_and_over_http(
    shared_api: Api,
) -> None:
    new = {"descriptor_id": "shop:order", "source": {"type": "folder", "path": "/"}}
    status, code, message = await shared_api.refusal(f"{OURS}/add.json", new)
    assert (status, code) == (400, 30109)
    assert "no package is installed that adds triggers of type folder" in message
    names = {"business_id": "shop", "feature_name": "order", "alias": "release"}
    text = f"{PASS}triggers: [{{name: new, source: {{type: folder, path: /}}}}]\n"
    refusal = await shared_api.refusal(
        "/flow/bg/manage/descriptor/add_descriptor.json", text, **names
    )
    assert refusal[:2] == (400, 30110)
    assert "triggers: new: no package is installed" in refusal[2]


async def test_without_aiokafka_a_trigger_is_added_and_its_state_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "aiokafka", None)
    async with served() as api:
        assert await api.post(ADD, WHOLE, **QUERY) == {"code": 0}
        shown = await in_state(api, "names#shop:order", "failed")
        assert "pip install 'rillflow[kafka]'" in shown["state_reason"]


async def test_a_kafka_trigger_is_added_in_python_and_listed_as_a_line() -> None:
    async with (
        served(kafka_brokers=BROKERS) as api,
        rillflow.AsyncClient(api.stack.settings.base_url) as client,
    ):
        await client.triggers.add("shop:order", kafka=KAFKA, trigger_id="k")
        await in_state(api, "k", "failed")
        [listed] = await client.triggers.all()
        assert listed["type"] == "kafka"
        line = line_of(listed)
        assert line.startswith("k  shop:order  kafka names  failed since 20")
        assert "127.0.0.1:1 cannot be reached" in line
        await client.triggers.pause("k")
        [listed] = await client.triggers.all()
        assert line_of(listed) == "k  shop:order  kafka names  paused  fired 0"


async def test_the_command_line_adds_a_kafka_trigger() -> None:
    async with served() as api:
        command = [
            "triggers",
            "add",
            "shop:order",
            "--id",
            "k",
            "--url",
            api.stack.settings.base_url,
        ]
        text = json.dumps(KAFKA)
        done = await asyncio.to_thread(CliRunner().invoke, app, [*command, "--kafka", text])
        assert (done.exit_code, done.stdout.strip()) == (0, "k")
        shown = await api.get(f"{OURS}/show.json", trigger_id="k")
        assert shown["kafka"]["topic"] == "names"
