"""The operations of the SQLite store on each table, apart from the journal.

Used by `stores/sqlite/store.py`; they know the tables, and not who writes to the file besides.
"""
