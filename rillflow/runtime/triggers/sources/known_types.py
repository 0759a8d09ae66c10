"""The types of triggers that have a source: Kafka, and those of installed packages.

Used by `runtime/triggers/start.py` and `runtime/stack.py`.
"""

from collections.abc import Mapping

from rillflow.gateways.kafka.trigger_type import KafkaTriggers
from rillflow.gateways.outbound.egress import egress_rules
from rillflow.gateways.plugins.trigger_types import installed_trigger_types
from rillflow.gateways.secrets.store import Secrets
from rillflow.ports.triggers import TriggerType
from rillflow.settings import Settings
from rillflow.triggers.trigger_types import Check


def trigger_types(settings: Settings) -> Mapping[str, TriggerType]:
    """Return the types by name, with what the settings let them do."""
    kafka = KafkaTriggers(
        brokers=settings.kafka_brokers,
        egress=egress_rules(
            allow=settings.egress_allow, deny=settings.egress_deny, private=settings.calls_private
        ),
        secrets=Secrets(settings.secrets_dir, hosts=settings.secret_hosts),
        ca_file=settings.kafka_ca_file,
        dead_letter_topics=settings.kafka_dead_letter_topics,
    )
    types: dict[str, TriggerType] = {each.name: each for each in installed_trigger_types()}
    return types | {kafka.name: kafka}


def installed_checks() -> Mapping[str, Check]:
    """Return how the settings of the types of installed packages are checked, by their names."""
    return {each.name: each.check for each in installed_trigger_types()}
