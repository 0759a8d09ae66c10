"""Triggers at work: ``registry.py`` adds and lists them, ``runner.py`` fires them.

`runtime/stack.py` calls the registry, execution actors start the runner (``start.py``). The
times are computed by `rillflow/triggers`.
"""
