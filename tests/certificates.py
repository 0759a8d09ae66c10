"""Certificates that tests make, in PEM form: of themselves, or issued by another one."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from rillflow.runtime.process.clock import SystemClock

HOUR = timedelta(hours=1)


class Pair(NamedTuple):
    """The files of a certificate and its key, and what issues others with them."""

    certificate: Path
    key: Path
    issued: x509.Certificate
    private: ec.EllipticCurvePrivateKey


def certificate(
    folder: Path,
    name: str = "localhost",
    *,
    issuer: Pair | None = None,
    begins: timedelta = -HOUR,
    ends: timedelta = 24 * HOUR,
    password: bytes | None = None,
) -> Pair:
    """Make a certificate for loopback, valid from so long before now to so long after."""
    private = ec.generate_private_key(ec.SECP256R1())
    now = datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ip_address("127.0.0.1")),
    ]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.issued.subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(private if issuer is None else issuer.private, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(made.public_bytes(Encoding.PEM))
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    files[1].write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    files[1].chmod(0o600)
    return Pair(*files, made, private)
