"""YAML text as a tree whose nodes keep the source text and its place.

`definition/parse.py` and `definition/binder.py` read it. It knows YAML, and no key of a definition.
"""
