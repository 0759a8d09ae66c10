"""Makes the certificates by which the processes of a Ray know each other.

``rillflow up`` runs it as a program beside its start (`serve/stack/ray_tls.py`), since what makes
certificates takes 20 MB of memory, which its process would keep.

An authority issues the certificate of each node. Who has its key gets in, as with Ray's token. That
of ``rillflow up`` issues one certificate, and its key is kept nowhere.
"""

import datetime as dt
import os
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from rillflow.ray_certificates import AUTHORITY, AUTHORITY_KEY, CERTIFICATE, KEY

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
BEGIN: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
END: Final = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
"""How RFC 5280 writes that a certificate has no end. A Ray cannot change its own while it runs, and
clocks of machines that have just started are wrong."""
PRIVATE: Final = 0o600


class Authority(NamedTuple):
    """What issues certificates."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def new(cls) -> Self:
        """Make one."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _named("Rillflow, authority for Ray")
        unsigned = _unsigned(
            name, name, key.public_key(), x509.BasicConstraints(ca=True, path_length=0)
        )
        return cls(unsigned.sign(key, hashes.SHA256()), key)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read that of a folder.

        Raises:
            OSError: A file cannot be read.
            ValueError: It is no certificate, or no key of this kind.
        """
        certificate = x509.load_pem_x509_certificate((folder / AUTHORITY).read_bytes())
        key = load_pem_private_key((folder / AUTHORITY_KEY).read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{folder / AUTHORITY_KEY} is a key of another kind")  # noqa: TRY004
        return cls(certificate, key)

    def write(self, folder: Path) -> None:
        """Write it into a folder, which has none.

        Raises:
            OSError: A file cannot be written.
        """
        _write(folder / AUTHORITY_KEY, _text_of(self.key))
        _write(folder / AUTHORITY, self.certificate.public_bytes(Encoding.PEM))

    def issue(self, folder: Path, names: Iterable[str]) -> None:
        """Write a certificate for hosts and addresses, its key, and who has issued it.

        Both ends of a connection show it. Ray compares the name of a server with its address.

        Raises:
            OSError: A file cannot be written.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        issuer, subject = self.certificate.subject, _named("Rillflow, Ray")
        unsigned = _unsigned(
            issuer, subject, key.public_key(), x509.BasicConstraints(ca=False, path_length=None)
        )
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        hosts = x509.SubjectAlternativeName([_general(each) for each in dict.fromkeys(names)])
        for extension in (authority, hosts):
            unsigned = unsigned.add_extension(extension, critical=False)
        _write(folder / KEY, _text_of(key))
        issued = unsigned.sign(self.key, hashes.SHA256())
        _write(folder / CERTIFICATE, issued.public_bytes(Encoding.PEM))
        _write(folder / AUTHORITY, self.certificate.public_bytes(Encoding.PEM))


def issue_here(folder: Path, authority: Path, names: Iterable[str]) -> bool:
    """Write a certificate for this machine, and an authority first if there is none.

    Args:
        folder: For the certificate; it is made.
        authority: Folder of the authority, which is the same for all machines.
        names: Hosts and addresses by which others reach this machine, beside those it knows itself.

    Returns:
        Whether the authority was made.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: What is there is no authority.
    """
    for each in (folder, authority):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    is_new = not (authority / AUTHORITY).exists()
    if is_new:
        Authority.new().write(authority)
    Authority.read(authority).issue(folder, [*LOOPBACK, *own_names(), *names])
    return is_new


def own_names() -> list[str]:
    """Return the names and addresses of this machine, that from which it reaches others first."""
    named = socket.gethostname()
    found = [named, socket.getfqdn()]
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as line:
            line.connect((far, 9))  # which sends nothing
            found.append(line.getsockname()[0])
    with suppress(OSError):
        found += [str(each[4][0]) for each in socket.getaddrinfo(named, None)]
    return [each.partition("%")[0] for each in found if each]


def _unsigned(
    issuer: x509.Name,
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    constraints: x509.BasicConstraints,
) -> x509.CertificateBuilder:
    begun = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    begun = begun.serial_number(x509.random_serial_number())
    begun = begun.not_valid_before(BEGIN).not_valid_after(END)
    begun = begun.add_extension(constraints, critical=True)
    begun = begun.add_extension(_usage(signs_certificates=constraints.ca), critical=True)
    return begun.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _text_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes) -> None:
    """Write a file for its owner only, in place of what was there."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as file:
        file.write(content)
    draft.replace(path)


if __name__ == "__main__":
    Authority.new().issue(Path(sys.argv[1]), LOOPBACK)
