"""What the connections of a store name when they connect to PostgreSQL.

A pooler must let them through, see docs/postgresql.md.

Used by `stores/postgres`.
"""

from typing import Final

POOL_SETTINGS: Final = {
    "synchronous_commit": "on",
    "application_name": "rillflow",
    # Searches have many parts, whose estimates would have each compiled for longer than it runs.
    "jit": "off",
    # A process that is stopped (SIGSTOP) inside a transaction must not keep its locks.
    "idle_in_transaction_session_timeout": "5s",
}

WRITER_SETTINGS: Final = {
    "synchronous_commit": "on",
    "application_name": "rillflow writer",
    # A process that is stopped (SIGSTOP) inside a transaction must not keep its locks.
    "idle_in_transaction_session_timeout": "5s",
    # The statements read single rows by their keys. A plan for unknown values is as good as any,
    # and one that was made while the tables were small must not read them whole later.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
