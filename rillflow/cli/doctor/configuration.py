"""Findings about the settings: misspelt and unused ones, and secrets that any host may get.

Used by `cli/doctor/examination.py`.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rillflow.cli.doctor.finding import Finding, error, fine, warning
from rillflow.gateways.http_client.tls_files import (
    expires_at_s,
    why_unusable,
    why_unusable_files,
)
from rillflow.gateways.secrets.store import Secrets, unbounded_warning
from rillflow.local_keys import guessable_keys
from rillflow.runtime.process.clock import SystemClock
from rillflow.setting_values import idle_switches
from rillflow.settings import Settings, is_loopback
from rillflow.tls_settings import tls_by_host
from rillflow.trusted_files.settings_file import settings_path
from rillflow.unknown_settings import unknown_variables

SETTINGS: Final = "settings"
SECRETS: Final = "secrets"
TLS: Final = "TLS"
SOON_DAYS: Final = 14
DAY_S: Final = 86_400
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def configuration(settings: Settings) -> Iterator[Finding]:
    """Yield what is set for nothing, and who may call."""
    found = False
    for problem in unknown_variables(os.environ):
        found = True
        yield warning(SETTINGS, problem, "correct the name, or remove the variable")
    for problem in idle_switches(settings.switches):
        found = True
        yield warning(SETTINGS, problem, "remove it from switches")
    if settings.insecure and settings.api_key is None and not is_loopback(settings.host):
        found = True
        told = f"whoever reaches {settings.host} may call the API (insecure)"
        yield warning(SETTINGS, told, "set RILLFLOW_API_KEY, or start with --key")
    if not found:
        file = settings_path()
        source = f"{file} and the environment" if file.exists() else "the environment"
        yield fine(SETTINGS, f"read from {source}")


def secrets(settings: Settings) -> Iterator[Finding]:
    """Yield whether secrets are kept from other users and other hosts."""
    known = Secrets(settings.secrets_dir, hosts=settings.secret_hosts)
    for name in known.unbounded():
        told, _, remedy = unbounded_warning(name).partition("; ")
        yield warning(SECRETS, told, remedy)
    folder = settings.secrets_dir
    if folder is not None and not folder.is_dir():
        told = f"the folder of secrets {folder} is not there"
        yield error(SECRETS, told, "make it, or correct RILLFLOW_SECRETS_DIR")
    elif folder is not None and folder.stat().st_mode & OTHERS:
        told = f"other users may enter the folder of secrets {folder}"
        yield error(SECRETS, told, f"chmod 700 {folder}")
    for problem in guessable_keys(settings).values():
        told, _, remedy = problem.partition(": ")
        yield warning(SECRETS, told, remedy)
    file = settings_path()
    if settings.api_key is not None and file.is_file() and file.stat().st_mode & OTHERS:
        told = f"other users may read {file}, in which there may be keys"
        yield warning(SECRETS, told, f"chmod 600 {file}")
    bounded = sorted(known.known().keys() - set(known.unbounded()))
    if bounded:
        yield fine(SECRETS, f"bounded to hosts: {', '.join(bounded)}")
    elif not known.known():
        yield fine(SECRETS, "there are none")


def tls(settings: Settings) -> Iterator[Finding]:
    """Yield whether certificates and keys can be used, and for how long."""
    if settings.tls_cert is not None:
        why = why_unusable(settings.tls_cert, settings.tls_key)
        if why:
            yield error(TLS, f"the server would not start: {why}", "correct tls_cert and tls_key")
        else:
            yield _expiry(settings.tls_cert, settings.tls_key)
    for host, files in tls_by_host(settings).items():
        why = why_unusable_files(files)
        if why:
            yield error(TLS, f"calls of {host} would fail: {why}", "correct gateway_tls")
        else:
            yield fine(TLS, f"the files for {host} can be used")
    if settings.tls_cert is None and not is_loopback(settings.host):
        told = f"the API at {settings.host} is not encrypted: keys can be read on the way"
        yield warning(TLS, told, "--tls-cert and --tls-key, or a proxy with TLS in front of it")


def _expiry(certificate: Path, key: Path | None) -> Finding:
    days = (expires_at_s(certificate, key) - SystemClock().now_ms() / 1000) / DAY_S
    told = f"the certificate of the API is valid for {days:,.0f} days"
    if days < SOON_DAYS:
        return warning(TLS, told, "renew it, and restart the server")
    return fine(TLS, told)
