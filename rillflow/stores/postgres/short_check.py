"""A short look at a PostgreSQL database: whether it takes writes, and what time it has.

Used by `stores`.
"""

import time
from typing import Final

import asyncpg

from rillflow.stores.postgres.pooler_check import refuse_shared_connections
from rillflow.stores.postgres.schema import store_errors
from rillflow.stores.store_check import PATIENCE_S, StoreCheck

_LOOK: Final = """
SELECT extract(epoch FROM clock_timestamp())::double precision,
    pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
    current_setting('server_version'), current_setting('fsync') = 'off'
"""


async def short_check(url: str, now_s: float, patience_s: float = PATIENCE_S) -> StoreCheck:
    """Ask a database for its time and whether it takes durable writes.

    Raises:
        StoreError: It cannot be reached, or not through this pooler.
    """
    async with store_errors():
        connection = await asyncpg.connect(url, timeout=patience_s, command_timeout=patience_s)
        try:
            await refuse_shared_connections(connection, url)
            began_s = time.monotonic()
            at_s, stands_by, read_only, version, forgets = await connection.fetchrow(_LOOK)
        finally:
            await connection.close(timeout=patience_s)
    ahead_s = float(at_s) - now_s - (time.monotonic() - began_s)
    problem = ""
    if stands_by or read_only:
        problem = "it is a standby, or read-only, and takes no writes"
    elif forgets:
        problem = "fsync is off, so what was acknowledged is lost when its machine fails"
    return StoreCheck(problem, f"PostgreSQL {version} takes writes", ahead_s)
