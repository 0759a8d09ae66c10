"""Closures of expressions and statements: small Python functions that the compiler combines.

`compiler.py` uses it. It knows no syntax: its functions take compiled operands.
"""
