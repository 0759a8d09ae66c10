"""The checks of a definition that refuse it, in Rill Flow's order (spec 1.6).

Used by the parser; warnings are in `definition/lint`.
"""
