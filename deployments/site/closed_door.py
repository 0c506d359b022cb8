"""A certificate for a port that nobody is to use: its server asks for one of an authority whose key is thrown away."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_VALID = timedelta(days=36_500)


class ClosedDoor(NamedTuple):
    """What a server is given, as PEM: the authority of its clients, and its own certificate and key."""

    authority: bytes
    certificate: bytes
    key: bytes


def make_closed_door() -> ClosedDoor:
    """Return a certificate with its key, and the authority that clients need one of, which no client can have."""
    own = ec.generate_private_key(ec.SECP256R1())
    kept = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return ClosedDoor(_self_signed(ec.generate_private_key(ec.SECP256R1())), _self_signed(own), kept)


def _self_signed(key: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "keeneye")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)
