"""What the tables of a durable store hold, looked at and spoilt behind its back."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg


async def run_sql(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement that SQLite and PostgreSQL both know, and return its rows."""
    if url.startswith("sqlite:"):
        path = Path(url.removeprefix("sqlite://"))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            return connection.execute(statement).fetchall()
    server = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await server.fetch(statement)]
    finally:
        await server.close()
