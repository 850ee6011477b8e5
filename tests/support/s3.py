"""A real S3 store for tests: SeaweedFS on this machine, whose accounts may each use one bucket, as those of MinIO."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mlops_lab.data.artifacts import S3, ArtifactError, Artifacts
from mlops_lab.local.processes import Process, Supervisor, free_ports
from mlops_lab.settings import REPOSITORY
from tests.support.processes import PATIENCE

# Account: its bucket. `root` may make buckets and use all.
BUCKETS = {"mlflow": "mlflows3", "pipeline": "api-artifacts"}
# The parts of the server, each with a port for others of its kind.
PARTS = ("master", "volume", "filer", "s3")
PORTS = [f"{part}.port{kind}" for part in PARTS for kind in ("", ".grpc")] + ["s3.port.https"]
WEED = str(Path(sys.executable).parent / "weed")


@dataclass(frozen=True)
class Store:
    """The running store."""

    ports: dict[str, int]
    ca: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3.port']}"

    @property
    def tls_url(self) -> str:
        return f"https://127.0.0.1:{self.ports['s3.port.https']}"

    def keys(self, account: str) -> tuple[str, str]:
        return account, f"{account}-secret-key-of-the-tests"

    def s3(self, account: str = "pipeline", **other) -> S3:
        access_key, secret_key = self.keys(account)
        given = {"endpoint": self.url, "access_key": access_key, "secret_key": secret_key}
        return S3(**given | other)

    def variables(self) -> dict[str, str]:
        """The settings of a lab whose bucket is here."""
        access_key, secret_key = self.keys("pipeline")
        return {
            "artifacts_url": f"s3://{BUCKETS['pipeline']}",
            "s3_endpoint": self.url,
            "s3_access_key": access_key,
            "s3_secret_key": secret_key,
        }


def make_buckets(
    store: Store, folder: Path, keys: tuple[str, str], **variables: str
) -> subprocess.CompletedProcess:
    """Runs the one-shot of the stack. folder: for the secrets; keys: of an account; variables: other settings."""
    folder.mkdir(exist_ok=True)
    for name, value in zip(("access-key", "secret-key"), keys, strict=True):
        (folder / name).write_text(value)
    environment = {"LAB_SECRETS_DIR": str(folder), "LAB_S3_ENDPOINT": store.url} | variables
    command = [sys.executable, str(REPOSITORY / "stack" / "buckets" / "buckets.py")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@contextmanager
def seaweedfs(folder: Path, *more: str) -> Iterator[Store]:
    """A store without buckets; its files are below `folder`. more: options of the server."""
    (folder / "data").mkdir(exist_ok=True)
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    store = Store(ports, folder / "ca.pem")
    _make_certificate(store.ca, folder / "key.pem")
    (folder / "accounts.json").write_text(json.dumps({"identities": _identities(store)}))
    options = ports | {
        "dir": "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 64,
        "volume.max": 100,
        "s3.config": "accounts.json",
        "s3.autoCreateBucket": "false",
        "s3.domainName": "localhost",
        "s3.cert.file": "ca.pem",
        "s3.key.file": "key.pem",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
    }
    command = [WEED, "server", "-s3", *(f"-{name}={value}" for name, value in options.items()), *more]
    process = Process("SeaweedFS", command, {"HOME": str(folder)}, store.url, "/status", cwd=folder)
    with Supervisor(folder / "logs") as supervisor:
        handle = supervisor.start(process)
        try:
            supervisor.wait(process)
            yield store
        finally:
            handle.kill()  # asked to end, it waits for its clients
            for port in ports.values():
                for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    left.unlink()


@contextmanager
def full(store: Store, bucket: str) -> Iterator[None]:
    """The bucket takes no object, as when its quota is reached."""
    place = f"fs.configure -locationPrefix=/buckets/{bucket}/ -apply"
    _shell(store, f"{place} -readOnly=true")
    try:
        yield
    finally:
        _shell(store, f"{place} -delete")


def _shell(store: Store, command: str) -> None:
    addresses = [
        f"-{part}=127.0.0.1:{store.ports[f'{part}.port']}.{store.ports[f'{part}.port.grpc']}"
        for part in ("master", "filer")
    ]
    subprocess.run(
        [WEED, "shell", *addresses], input=command, text=True, capture_output=True, check=True, timeout=60
    )


def until_it_stores(store: Store) -> None:
    """Its first objects are refused, until its parts know each other."""
    deadline = time.monotonic() + PATIENCE
    root = {account: Artifacts(f"s3://{bucket}", store.s3("root")) for account, bucket in BUCKETS.items()}
    for bucket in root.values():
        while True:
            try:
                bucket.put("first", b"")
                bucket.delete_object("first")
                break
            except ArtifactError:
                if time.monotonic() > deadline:
                    raise


def _identities(store: Store) -> list[dict]:
    found = [("root", ["Admin", "Read", "Write", "List"])]
    found += [
        (name, [f"{right}:{bucket}" for right in ("Read", "Write", "List")])
        for name, bucket in BUCKETS.items()
    ]
    return [
        {
            "name": name,
            "credentials": [dict(zip(("accessKey", "secretKey"), store.keys(name), strict=True))],
            "actions": rights,
        }
        for name, rights in found
    ]


def _make_certificate(certificate: Path, key_file: Path) -> None:
    """A certificate that nobody else trusts, for 127.0.0.1 and localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the tests' own authority")])
    names = [x509.DNSName("localhost"), x509.DNSName("*.localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    today = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
