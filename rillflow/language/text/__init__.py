"""Parsing of texts as values: literals, tolerant JSON, scanning, and regular expressions.

The other language packages and the core call it. It knows no documents.
"""
