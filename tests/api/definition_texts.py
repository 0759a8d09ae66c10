"""Small definitions for the tests of the API; ``${GW}`` is the function gateway."""

from typing import Final

PASS: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - name: A
    category: pass
    inputMappings:
      - {source: $.context.a, target: $.input.a}
"""

SUSPENDED: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - name: wait
    category: suspense
    conditions: ['$.input.[?(@.go == true)]']
    inputMappings:
      - {source: $.context.go, target: $.input.go}
    outputMappings:
      - {source: $.output.go, target: $.context.go}
"""


def calling(
    function: str,
    *,
    pattern: str = "task_sync",
    name: str = "order",
    more: str = "",
    resource: str = "${GW}/function/",
) -> str:
    """Return a definition of one task that calls a function."""
    return f"""
workspace: shop
dagName: {name}
type: flow
tasks:
  - name: A
    category: function
    resourceName: {resource}{function}
    pattern: {pattern}
    inputMappings:
      - {{source: $.context.a, target: $.input.a}}
    outputMappings:
      - {{source: $.output.a, target: $.context.a}}
{more}"""
