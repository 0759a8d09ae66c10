"""The operations of the PostgreSQL store on each table, apart from the journal.

Used by `stores/postgres/store.py`; they know the tables, and not who else has a connection.
"""
