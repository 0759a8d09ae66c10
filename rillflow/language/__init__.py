"""The workflow language: paths, conditions, literals, mappings and expressions.

The core evaluates them, `rillflow/definition` checks them. The package is pure: it has no clock,
I/O or randomness, and knows no tasks and no executions. Everything that it evaluates has a budget.
"""
