"""``python -m rillflow.private_apis``: what is relied on, and whether it still holds."""

import sys

from rillflow.private_apis.report import findings


def main() -> int:
    """Write a paragraph for each assumption; return 1 if one does not hold."""
    broken = 0
    for module, assumption, installed, differences in findings():
        broken += bool(differences)
        state = "differs" if differences else "holds"
        library = f"{assumption.library} {installed}, seen with {assumption.seen_with}"
        lines = [
            f"{state:8} {module} ({library})",
            f"  relies on      {assumption.relies_on}",
            f"  if it changes  {assumption.if_it_changes}",
            *(f"  different      {each}" for each in differences),
        ]
        sys.stdout.write("\n".join(lines) + "\n")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
