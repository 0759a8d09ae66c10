"""Warnings about valid definitions that will probably not do what their author expects.

`definition/problems.py` collects them. A warning never refuses a definition.
"""
