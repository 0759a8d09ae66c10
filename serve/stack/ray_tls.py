"""Has the Ray of a stack on one machine encrypt, so that nobody without its certificate reaches it.

Used by `serve/stack/standalone.py`.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Final

from rillflow.errors import StackError
from rillflow.ray_certificates import FOLDER, USE_TLS, is_of_run, note_port, variables
from rillflow.settings import Settings

PROGRAM: Final = str(Path(__file__).with_name("certificates.py"))


class RayTls:
    """The certificate of one start, which is made while other things start.

    Args:
        settings: Whether there is one.
        run_dir: Folder of the run, which only this user can enter.
        environment: That of Ray; it gets the variables, unless an operator has set them.
        program: What makes the certificate.
    """

    def __init__(
        self,
        settings: Settings,
        run_dir: Path,
        environment: MutableMapping[str, str] = os.environ,
        program: str = PROGRAM,
    ) -> None:
        self._folder = run_dir / FOLDER
        self._making: subprocess.Popen[str] | None = None
        if is_of_run(environment):  # this process was started by another stack
            for name in variables(self._folder):
                environment.pop(name, None)
        if not settings.ray_tls or USE_TLS in environment:
            return
        environment.update(variables(self._folder))
        self._folder.mkdir(mode=0o700)
        command = [sys.executable, "-P", program, str(self._folder)]
        self._making = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own program

    def wait(self) -> None:
        """Wait until the certificate is there.

        Raises:
            StackError: It cannot be made.
        """
        if self._making is None:
            return
        _, said = self._making.communicate()
        if self._making.returncode != 0:
            why = (said.strip().splitlines() or [f"exit code {self._making.returncode}"])[-1]
            raise StackError(
                f"no certificate could be made for Ray ({why}); RILLFLOW_RAY_TLS=false starts"
                " Ray without one"
            )

    def environment(self, address: str) -> Mapping[str, str]:
        """Return the variables with which other programs of this user join the Ray at an address.

        Scripts of Rillflow find the certificate by that from now on.
        """
        joins = {"RAY_ADDRESS": address, "RAY_AUTH_MODE": "token"}
        if self._making is None:
            return joins
        note_port(self._folder, address)
        return {**joins, **variables(self._folder)}
