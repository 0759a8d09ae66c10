"""What it costs that parts of a stack are on two nodes: ``make bench-nodes``.

    python -m tests.bench.nodes [rounds]

Both nodes are raylets on this machine and share its cores, and PostgreSQL does too. So this
shows what calls between nodes take of processors and time, without a network in between,
and not that two nodes do more than one.
"""

import sys
import tempfile
from pathlib import Path

from tests.bench.stacks import HERE, functions
from tests.cluster.ray_nodes import RayNodes
from tests.postgres_server import PostgresServer


def main() -> None:
    """Measure each placement and print a table."""
    server = PostgresServer()
    try:
        with functions() as url, tempfile.TemporaryDirectory(prefix="rfb-", dir="/tmp") as folder:
            store = server.new_database()
            nodes = RayNodes(Path(folder), store, driver=HERE / "node_load.py", told=(url,))
            try:
                for row in nodes.ask(f"measure {sys.argv[1] if len(sys.argv) > 1 else 1}"):
                    print(row)
            finally:
                nodes.stop()
    finally:
        server.stop()


if __name__ == "__main__":
    main()
