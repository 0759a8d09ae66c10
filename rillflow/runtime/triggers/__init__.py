"""Triggers at work: ``registry.py`` adds and lists them, ``runner.py`` fires them."""
