"""The type ``kafka`` of triggers.

Used by `runtime/triggers/sources/known_types.py`.
"""

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from rillflow.errors import GatewayError
from rillflow.gateways.http_client.resolver import GuardedResolver
from rillflow.gateways.kafka.broker_rules import BrokerRules
from rillflow.gateways.kafka.guarded_loop import KafkaThread
from rillflow.gateways.kafka.record_room import OwnRoom, RecordRoom
from rillflow.gateways.kafka.source import KafkaSource
from rillflow.gateways.outbound.egress import EgressPolicy
from rillflow.gateways.secrets.store import Secrets, is_at
from rillflow.jsontypes import JsonObject
from rillflow.language.mapping.secret_references import secret_name
from rillflow.ports.triggers import EventSource
from rillflow.triggers.kafka import checked_kafka

LOOK_UP_S: Final = 5.0
"""How long finding the address of a broker may take."""


class KafkaTriggers:
    """Triggers that start an execution for each record of a topic."""

    name = "kafka"

    def __init__(
        self,
        *,
        brokers: Collection[str],
        egress: EgressPolicy,
        secrets: Secrets,
        ca_file: Path | None,
        dead_letter_topics: Mapping[str, Collection[str]],
    ) -> None:
        """Read from these brokers only, and from those that they name.

        ``dead_letter_topics`` has the patterns of topics for dead letters by workspace; ``*`` is
        every other one.
        """
        self._brokers = brokers
        self._topics = dead_letter_topics
        self._egress = egress
        self._secrets = secrets
        self._ca_file = ca_file
        self._thread = KafkaThread()
        self._room = RecordRoom()
        self._resolver = GuardedResolver(egress, timeout_s=LOOK_UP_S)

    def check(self, settings: JsonObject) -> JsonObject:
        """Return the settings of a trigger as they are stored."""
        return checked_kafka(settings)

    def open(self, trigger_id: str, settings: JsonObject) -> EventSource:
        """Return the records of a topic; see ``open_for``."""
        return self.open_for("", trigger_id, settings)

    def open_for(self, workspace: str, trigger_id: str, settings: JsonObject) -> EventSource:
        """Return the records of a topic, for a trigger of a workspace.

        Raises:
            GatewayError: aiokafka is not installed, a broker may not be read from, the workspace
                may not send dead letters to their topic, or the secret is not known.
        """
        if find_spec("aiokafka") is None:
            raise GatewayError("Kafka triggers need aiokafka: pip install 'rillflow[kafka]'")
        given: dict[str, Any] = settings
        for place in given["brokers"]:
            if not any(is_at(place, each) for each in self._brokers):
                raise GatewayError(
                    f"triggers may not read from {place}: kafka_brokers (RILLFLOW_KAFKA_BROKERS)"
                    " names the brokers from which they may"
                )
        self._check_topic(workspace, given.get("dead_letter_topic"))
        secret = secret_name(given.get("password", ""))
        rules = BrokerRules(
            egress=self._egress,
            resolver=self._resolver,
            brokers=given["brokers"],
            secrets=self._secrets,
            secret=secret,
        )
        return KafkaSource(
            trigger_id,
            given,
            thread=self._thread,
            rules=rules,
            password=None if secret is None else self._secrets.value(secret),
            ca_file=self._ca_file,
            room=OwnRoom(self._room, workspace),
        )

    def _check_topic(self, workspace: str, topic: str | None) -> None:
        """Refuse a topic for dead letters that is not for this workspace.

        Raises:
            GatewayError: It is not.
        """
        allowed = self._topics.get(workspace, self._topics.get("*", ()))
        if topic is not None and not any(fnmatchcase(topic, each) for each in allowed):
            raise GatewayError(
                f"triggers of this workspace may not send dead letters to {topic}:"
                " kafka_dead_letter_topics (RILLFLOW_KAFKA_DEAD_LETTER_TOPICS) names the topics to"
                f" which they may: {', '.join(allowed) or 'none'}"
            )
