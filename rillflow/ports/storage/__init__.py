"""The port of stores: `store.py`, and the protocols that it joins.

Used by the layers above and by each adapter in `stores`; it knows no SQL.
"""
