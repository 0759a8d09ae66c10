"""The clients of aiokafka for a Kafka trigger, as they are configured.

Used by `gateways/kafka/client.py`.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from rillflow.private_apis.kafka_client.limits import bound_kafka
from rillflow.triggers.kafka import default_group

CLIENT_ID: Final = "rillflow"
REQUEST_MS: Final = 10_000
"""How long a broker may take for an answer."""
FETCHED_BYTES: Final = 1 << 20
"""What a broker sends at once, unless a single batch is larger."""
FETCHED_OF_PARTITION: Final = 256 << 10
MOST_SENT_BYTES: Final = 8 << 20
MOST_IDLE_MS: Final = 86_400_000
"""A reader that waits for room is alive: it is not to be taken for one that is stuck."""
RECONSIDERED_MS: Final = 60_000
"""How old what is known of brokers and partitions may be."""

bound_kafka()


def consumer_of(
    settings: Mapping[str, Any], trigger_id: str, password: str | None, ca_file: Path | None
) -> AIOKafkaConsumer:
    """Return a consumer; it commits nothing by itself."""
    return AIOKafkaConsumer(
        settings["topic"],
        group_id=settings.get("group") or default_group(trigger_id),
        auto_offset_reset=settings["offset_reset"],
        enable_auto_commit=False,
        isolation_level="read_committed",
        fetch_max_bytes=FETCHED_BYTES,
        max_partition_fetch_bytes=FETCHED_OF_PARTITION,
        max_poll_interval_ms=MOST_IDLE_MS,
        **_connection(settings, password, ca_file),
    )


def producer_of(
    settings: Mapping[str, Any], password: str | None, ca_file: Path | None
) -> AIOKafkaProducer:
    """Return a producer of dead letters."""
    return AIOKafkaProducer(
        acks="all",
        max_request_size=MOST_SENT_BYTES,
        **_connection(settings, password, ca_file),
    )


def _connection(
    settings: Mapping[str, Any], password: str | None, ca_file: Path | None
) -> dict[str, Any]:
    with_tls, with_user = settings.get("tls", False), password is not None
    protocol = f"SASL_{'SSL' if with_tls else 'PLAINTEXT'}" if with_user else "PLAINTEXT"
    if with_tls and not with_user:
        protocol = "SSL"
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings["brokers"]),
        "client_id": CLIENT_ID,
        "request_timeout_ms": REQUEST_MS,
        "metadata_max_age_ms": RECONSIDERED_MS,
        "security_protocol": protocol,
    }
    if with_tls:
        options["ssl_context"] = ssl.create_default_context(cafile=ca_file)
    if with_user:
        options["sasl_mechanism"] = settings["sasl_mechanism"]
        options["sasl_plain_username"] = settings["user"]
        options["sasl_plain_password"] = password
    return options
