"""What traces cost: five tasks in a row without them, for each hundredth execution, and for all.

Spans go to a receiver on this machine, which reads them and answers: its processor time counts,
too, where there are no more cores than the stack uses.
"""

from collections.abc import Iterator
from typing import Final

from tests.bench.figures import Figure
from tests.bench.measuring import WARM_UP_S, measure
from tests.bench.stacks import HERE, scene
from tests.cluster.processes import announced

AT_ONCE: Final = 64
SHARES: Final = {"not traced": "0", "1 % traced": "0.01", "all traced": "1"}


def traces(
    functions_url: str, *, seconds: float, full: bool, **environment: str
) -> Iterator[Figure]:
    """Measure on one stack after the other."""
    with announced(str(HERE / "plain_server.py")) as line:
        collector = f"http://{line.split()[1]}"
        for name, share in SHARES.items():
            variables = {
                **environment,
                "RILLFLOW_TRACE_SAMPLING": share,
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
            }
            with scene(functions_url, seconds=seconds, full=full, **variables) as stage:
                cpu_s = stage.cpu_s()
                sample = measure(stage, "glue", AT_ONCE)
                done = sample.per_s * (sample.elapsed_s + WARM_UP_S)
                cpu_s = stage.cpu_s() - cpu_s
            yield Figure(f"{name}, glue c={AT_ONCE}", "executions/s", sample.per_s)
            yield Figure(f"{name}, 1,000 executions", "CPU-s", cpu_s / done * 1000)
