"""A job that tests run: it notes that it was begun, does what its input says, and ends."""

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    """Do what the input says."""
    given = json.loads(os.environ["RILLFLOW_INPUT"])
    file = Path(os.environ["RILLFLOW_INPUT_FILE"])
    if json.loads(file.read_text(encoding="utf-8")) != given:
        sys.exit("the file has another input")
    with Path(given["file"]).open("a", encoding="ascii") as lines:
        lines.write(f"{os.getpid()}\n")
    print("begun", given.get("text", ""), os.environ.get("OF_THE_JOB"), flush=True)  # noqa: T201
    time.sleep(given.get("seconds", 0))
    if given.get("code"):
        sys.exit(f"it fails {given['text']}")


if __name__ == "__main__":
    main()
