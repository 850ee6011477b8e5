"""A version's signature: Ed25519 over its use case and its digest.

Training signs with the private key. What loads a model has only the public keys: it can check and not sign. So
whoever can write to MLflow, the bucket and the database, but can't read the private key, can't make the lab serve
another model.
"""

import base64
import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from mlops_lab.files import kept_secret, write_whole
from mlops_lab.settings import Settings, SettingsError

_PUBLIC_KEY = re.compile(r"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


def make_key() -> str:
    """A new private key, as PEM."""
    private = Ed25519PrivateKey.generate()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_key(private: str) -> str:
    """The public half of a private key; both as PEM."""
    return (
        _private(private).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    )


def sign(private: str, use_case: str, digest: str) -> str:
    """The signature of a model, base64. Raises `SettingsError` when the key can't be used."""
    return base64.b64encode(_private(private).sign(_message(use_case, digest))).decode()


def is_signed(public: str, use_case: str, digest: str, signature: str) -> bool:
    """Whether one of the public keys, PEM after PEM, made the signature of this model.

    Raises `SettingsError` when a key can't be used.
    """
    try:
        raw = base64.b64decode(signature, validate=True)
    except ValueError:
        return False
    for key in _PUBLIC_KEY.findall(public):
        try:
            _public(key).verify(raw, _message(use_case, digest))
        except InvalidSignature:
            continue
        return True
    return False


def signing_key(settings: Settings) -> str:
    """The private key. Without a setting it is one of this LAB_HOME, made once, with its public half beside it.

    Raises `SettingsError` where only public keys are set: what a key of its own signs would be served nowhere.
    """
    if settings.signing_key:
        return settings.signing_key.get_secret_value()
    if settings.verify_keys:
        raise SettingsError(
            "LAB_VERIFY_KEYS is set and LAB_SIGNING_KEY isn't, so models can be checked here and not signed; "
            "in the stack, airflow-worker signs"
        )
    private, public = _kept(settings)
    key = kept_secret(private, make_key)
    if not public.exists() or public.read_text() != public_key(key):
        write_whole(public, public_key(key))
    return key


def verify_keys(settings: Settings) -> str:
    """The public keys; empty when there are none, so that no signature counts."""
    if settings.verify_keys:
        return settings.verify_keys
    if settings.signing_key:
        return public_key(settings.signing_key.get_secret_value())
    _, public = _kept(settings)
    return public.read_text() if public.exists() else ""


def has_signing_key(settings: Settings) -> bool:
    """Whether there is a private key yet."""
    return settings.signing_key is not None or _kept(settings)[0].exists()


def _kept(settings: Settings) -> tuple[Path, Path]:
    folder = settings.home.resolve() / "secrets"
    return folder / "signing_key", folder / "verify_keys"


def _message(use_case: str, digest: str) -> bytes:
    return f"mlops-lab model\n{use_case}\n{digest}".encode()


def _private(pem: str) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError("setting LAB_SIGNING_KEY: it isn't an Ed25519 private key as PEM")
    return key


def _public(pem: str) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError("setting LAB_VERIFY_KEYS: it isn't a list of Ed25519 public keys as PEM")
    return key
