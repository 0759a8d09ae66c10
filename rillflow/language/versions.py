"""The versions of the language: which rules an execution reads its definition by.

An execution keeps the version it was submitted under for as long as it lives, so that its
journal gives the same execution after an upgrade. A rule that changes what a path, a
mapping or an expression gives, or how an answer is judged, begins with a new version; the
rule before it stays for executions that are older. What an evaluation is charged is such a
rule, too: under a stricter one, what succeeded before would fail in a replay.
"""

from typing import Final

FIRST: Final = 1
"""The rules of executions whose submission names no version."""
AVIATOR_AND_JAYWAY_MEASURED: Final = 2
"""The rules that were corrected against the engines themselves (spec 2.5, 2.7, 3.10)."""
RETRIES_PACED: Final = 3
"""Retries after the tenth wait, also where the author wrote no interval."""
MEMORY_CHARGED: Final = 4
"""Evaluations are charged for memory in bytes, and for work that was free before."""
STRICT_OF_LISTS_AND_SUB_FLOWS: Final = 5
"""A strict execution judges the outputs of a sub-flow at its end, and paths behind ``[*]`` too."""
COSTS_CHARGED: Final = 6
"""Evaluations are charged for each operation by the processor time that it takes."""
GENERATE_AUTH_IN_INPUT_ONLY: Final = 7
"""``generate_auth`` among ``parameters`` neither signs nor is sent."""
NESTING_BOUNDED: Final = 8
"""What is kept of an execution nests as deeply as JSON from outside may, and no deeper."""
CURRENT: Final = NESTING_BOUNDED
"""The rules of executions that are submitted now."""
