"""Signatures of GitHub's secret scanning partner program: ECDSA with P-256 and SHA-256, over the body as it was sent.

GitHub publishes its public keys at https://api.github.com/meta/public_keys/secret_scanning. This server never requests
them: the operator sets them, so that no answer from outside decides whose reports are trusted.
"""

import json
from base64 import b64decode
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

PublicKeys = Mapping[str, EllipticCurvePublicKey]


def parse_public_keys(text: str) -> PublicKeys:
    """The keys by their identifiers, from GitHub's JSON. Raises `ValueError`, `TypeError` or `KeyError`.

    Keys that are no longer current count too, as in GitHub's examples: `is_current` says which one signs new reports.
    """
    entries = json.loads(text)["public_keys"]
    keys = {str(entry["key_identifier"]): _public_key(entry["key"]) for entry in entries}
    if not keys or len(keys) != len(entries):
        raise ValueError
    return keys


def _public_key(pem: str) -> EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (AttributeError, UnsupportedAlgorithm) as error:
        raise ValueError from error
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise ValueError
    return key


def is_signed(body: bytes, signature: str, key: EllipticCurvePublicKey) -> bool:
    """Whether this is the body's signature: DER in base64."""
    try:
        key.verify(b64decode(signature, validate=True), body, ECDSA(SHA256()))
    except (ValueError, InvalidSignature):
        return False
    return True
