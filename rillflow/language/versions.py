"""The versions of the language, which select the rules for an execution.

An execution keeps the version of its submission for its whole life, so that its journal gives the
same execution after an upgrade. A change of what a path, a mapping or an expression gives, or of
how an answer is judged, needs a new version; the earlier rule stays for older executions. So does a
change of charges: under a stricter one, what succeeded before would fail in a replay.

Used by `core`, `language`, `runtime` and `testing`.
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
"""A strict execution checks the outputs of a sub-flow at its end, and paths behind ``[*]`` too."""
COSTS_CHARGED: Final = 6
"""Evaluations are charged for each operation by the processor time that it takes."""
GENERATE_AUTH_IN_INPUT_ONLY: Final = 7
"""``generate_auth`` among ``parameters`` has no effect and is not sent."""
NESTING_BOUNDED: Final = 8
"""What is kept of an execution may be nested as deeply as JSON from outside."""
EVENTS_CUT_BY_WORK: Final = 9
"""An event that has spent many steps leaves the rest to later ones, which share its memory."""
CONTEXTS_BOUNDED: Final = 10
"""A context has a limit as a whole, and texts count by the bytes that they take as JSON."""
IDS_OF_OTHERS_HIDDEN: Final = 10
"""Data that the engine writes have no ids of executions of other workspaces (spec 3.15)."""
CURRENT: Final = CONTEXTS_BOUNDED
"""The rules of executions that are submitted now."""


def unknown_rules(language: int) -> str:
    """Say why this release cannot go on with an execution; nothing if it knows its rules."""
    if language <= CURRENT:
        return ""
    return (
        f"the execution has language version {language}, and this release knows versions up to"
        f" {CURRENT}: deploy the release to which it was submitted, or a later one"
    )
