"""The owner of a set of executions: handles calls in batches, journals them, then acts.

`runtime/endpoints` passes calls to `execution_owner.py`, which calls every other module here. It
knows no Ray and no network.
"""
