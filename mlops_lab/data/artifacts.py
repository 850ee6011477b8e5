"""The bucket `api-artifacts`: payloads and reports, in S3 or in a folder, behind one file system interface."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyarrow import fs

from mlops_lab.errors import LabError, ServiceError, first_line

# The end of the name of an object that isn't complete.
PART = ".part"
# Bytes that are written at once to see whether there is room.
BLOCK = 1 << 20
# By default pyarrow packs and unpacks an object by the ending of its name, such as .gz.
AS_IT_IS: Any = {"compression": None}


# What a person does about a refusal, by what pyarrow's text holds.
ADVICE = (
    (("NO_SUCH_BUCKET", "NoSuchBucket"), "make the bucket, or check LAB_ARTIFACTS_URL"),
    (
        (
            "ACCESS_DENIED",
            "INVALID_ACCESS_KEY_ID",
            "SIGNATURE_DOES_NOT_MATCH",
            "HTTP status 403",
            "InvalidAccessKeyId",
        ),
        "check LAB_S3_ACCESS_KEY and LAB_S3_SECRET_KEY, and what they may do in the bucket",
    ),
    (("curlCode: 60", "curlCode: 77"), "check LAB_S3_CA, the certificates that the server's is checked with"),
    (("NETWORK_CONNECTION",), "start the object store, or check LAB_S3_ENDPOINT"),
)


class ArtifactError(ServiceError):
    """The object store can't be reached or lacks an object."""


@dataclass(frozen=True)
class S3:
    """How a server of the S3 API is reached. The settings `LAB_S3_*` explain the fields.

    Without an endpoint it is Amazon's; without keys, those that the environment has, such as a machine's role.
    """

    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    virtual_host: bool = False
    ca: Path | None = None

    def open(self) -> fs.FileSystem:
        scheme, _, address = (self.endpoint or "").partition("://")
        return fs.S3FileSystem(
            access_key=self.access_key,
            secret_key=self.secret_key,
            endpoint_override=address or None,
            scheme=scheme or "https",
            region=self.region,
            force_virtual_addressing=self.virtual_host,
            tls_ca_file_path=str(self.ca) if self.ca else None,
            connect_timeout=5,
            request_timeout=60,
        )


class Artifacts:
    """Whole objects by path. A reader gets a complete object or none."""

    def __init__(self, url: str, s3: S3 | None = None):
        """`url`: `s3://bucket` in the server `s3`, or a folder, which is created."""
        # S3 shows an object only when it is complete; a file must be written elsewhere and then moved.
        self._moves = not url.startswith("s3://")
        if self._moves:
            store: fs.FileSystem = fs.LocalFileSystem()
            store.create_dir(url, recursive=True)
        else:
            store = (s3 or S3()).open()
        root = url.removeprefix("s3://").rstrip("/")
        self._files = fs.SubTreeFileSystem(root, store)

    def put(self, path: str, content: bytes) -> str:
        """Stores the bytes; returns the path."""
        with _fault(f"the object store can't store {path}"):
            if not self._moves:
                self._write(path, content)
                return path
            self._files.create_dir(path.rpartition("/")[0], recursive=True)
            # Of this process alone, because two may store the same object at once.
            part = f"{path}.{os.getpid()}{PART}"
            try:
                self._write(part, content)
                self._files.move(part, path)
            except OSError:
                with suppress(OSError):
                    self._files.delete_file(part)
                raise
        return path

    def check_room(self, folder: str, size: int) -> None:
        """Raises `ArtifactError` when an object of so many bytes can't be stored in the folder."""
        path = f"{folder}/room{PART}".lstrip("/")
        # Random bytes, because a disk that packs keeps zeros in no room.
        block = os.urandom(min(size, BLOCK))
        try:
            if self._moves and folder:
                self._files.create_dir(folder, recursive=True)
            with self._files.open_output_stream(path, **AS_IT_IS) as stream:
                for _ in range(math.ceil(size / BLOCK)):
                    stream.write(block)
        except OSError as error:
            raise ArtifactError(
                f"no batch is requested, because {size / 1e6:,.0f} MB can't be stored in "
                f"{self._files.base_path}{folder}: {_reason(error, 'free disk space')}"
            ) from error
        finally:
            with suppress(OSError):
                self._files.delete_file(path)

    def size(self, path: str) -> int:
        """Bytes of the object; 0 when it doesn't exist."""
        with _fault(f"the object store can't read {path}"):
            return self._files.get_file_info(path).size or 0

    def delete_parts(self, folder: str) -> None:
        """Removes what a killed process left half-written in the folder."""
        with _fault(f"the object store can't delete in {folder}"):
            for info in self._files.get_file_info(fs.FileSelector(folder, allow_not_found=True)):
                if info.path.endswith(PART):
                    self._files.delete_file(info.path)

    def get(self, path: str) -> bytes:
        fault = _fault(f"the object store can't read {path}")
        with fault, self._files.open_input_stream(path, **AS_IT_IS) as stream:
            return stream.read()

    def download(self, path: str, file: Path) -> None:
        """Copies an object of any size into a file. Raises `LabError` when there is no such object."""
        with _fault(f"the object {path} can't be copied"):
            if self._files.get_file_info(path).type != fs.FileType.File:
                raise LabError(f"there is no object {path} in the bucket")
            with self._files.open_input_stream(path, **AS_IT_IS) as stream, file.open("wb") as target:
                while block := stream.read(BLOCK):
                    target.write(block)

    def upload(self, file: Path, path: str) -> str:
        """Stores a file of any size as an object; returns the path. An earlier object is replaced in one step."""
        with _fault(f"the object store can't store {path}"):
            if self._moves:
                self._files.create_dir(path.rpartition("/")[0], recursive=True)
            # Elsewhere in S3, too: a stream that is closed by an error ends as an object of what was written.
            with file.open("rb") as source, self._files.open_output_stream(path + PART, **AS_IT_IS) as stream:
                while block := source.read(BLOCK):
                    stream.write(block)
            self._files.move(path + PART, path)
        return path

    def list(self, folder: str) -> list[str]:
        """Paths of the complete objects in the folder."""
        with _fault(f"the object store can't list {folder}"):
            found = self._files.get_file_info(fs.FileSelector(folder, allow_not_found=True))
        return sorted(
            info.path for info in found if info.type == fs.FileType.File and not info.path.endswith(PART)
        )

    def delete_object(self, path: str) -> None:
        """Removes one object. It may be gone already."""
        with _fault(f"the object store can't delete {path}"):
            if self._files.get_file_info(path).type == fs.FileType.File:
                self._files.delete_file(path)

    def delete(self, folder: str) -> None:
        """Removes everything below the folder."""
        # A store may show the folder of objects that are gone.
        with _fault(f"the object store can't delete {folder}"), suppress(FileNotFoundError):
            if self._files.get_file_info(folder).type == fs.FileType.Directory:
                self._files.delete_dir(folder)

    def _write(self, path: str, content: bytes) -> None:
        with self._files.open_output_stream(path, **AS_IT_IS) as stream:
            stream.write(content)


@contextmanager
def _fault(what: str) -> Iterator[None]:
    """An error of the store in the block becomes an `ArtifactError` of one line."""
    try:
        yield
    except OSError as error:
        raise ArtifactError(f"{what}: {_reason(error)}") from error


def _reason(error: OSError, otherwise: str = "") -> str:
    """What the store said, and what to do about it; otherwise: what to do about every other reason."""
    text = str(error)
    advice = next((advice for marks, advice in ADVICE if any(mark in text for mark in marks)), otherwise)
    return "; ".join(filter(None, (first_line(error).rstrip("."), advice)))
