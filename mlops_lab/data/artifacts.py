"""The bucket `api-artifacts`: payloads and reports, in S3 or in a folder, behind one file system interface."""

import math
import os
from contextlib import suppress
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


class ArtifactError(ServiceError):
    """The object store can't be reached or lacks an object."""


class Artifacts:
    """Whole objects by path. A reader gets a complete object or none."""

    def __init__(
        self,
        url: str,
        endpoint: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
    ):
        """`url`: `s3://bucket`, with the server's address as `endpoint`, or a folder, which is created."""
        if url.startswith("s3://"):
            scheme, _, address = (endpoint or "").partition("://")
            store: fs.FileSystem = fs.S3FileSystem(
                access_key=access_key,
                secret_key=secret_key,
                endpoint_override=address or None,
                scheme=scheme or "https",
                region="us-east-1",
                connect_timeout=5,
                request_timeout=60,
            )
            root = url.removeprefix("s3://").rstrip("/")
        else:
            store, root = fs.LocalFileSystem(), url
            store.create_dir(root, recursive=True)
        self._files = fs.SubTreeFileSystem(root, store)
        # S3 shows an object only when it is complete; a file must be written elsewhere and then moved.
        self._moves = not url.startswith("s3://")

    def put(self, path: str, content: bytes) -> str:
        """Stores the bytes; returns the path."""
        try:
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
        except OSError as error:
            raise ArtifactError(f"the object store can't store {path}: {first_line(error)}") from error
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
                f"{self._files.base_path}{folder}: {first_line(error)}; free disk space"
            ) from error
        finally:
            with suppress(OSError):
                self._files.delete_file(path)

    def size(self, path: str) -> int:
        """Bytes of the object; 0 when it doesn't exist."""
        try:
            return self._files.get_file_info(path).size or 0
        except OSError as error:
            raise ArtifactError(f"the object store can't read {path}: {first_line(error)}") from error

    def delete_parts(self, folder: str) -> None:
        """Removes what a killed process left half-written in the folder."""
        try:
            for info in self._files.get_file_info(fs.FileSelector(folder, allow_not_found=True)):
                if info.path.endswith(PART):
                    self._files.delete_file(info.path)
        except OSError as error:
            raise ArtifactError(f"the object store can't delete in {folder}: {first_line(error)}") from error

    def get(self, path: str) -> bytes:
        try:
            with self._files.open_input_stream(path, **AS_IT_IS) as stream:
                return stream.read()
        except OSError as error:
            raise ArtifactError(f"the object store can't read {path}: {first_line(error)}") from error

    def download(self, path: str, file: Path) -> None:
        """Copies an object of any size into a file. Raises `LabError` when there is no such object."""
        try:
            if self._files.get_file_info(path).type != fs.FileType.File:
                raise LabError(f"there is no object {path} in the bucket")
            with self._files.open_input_stream(path, **AS_IT_IS) as stream, file.open("wb") as target:
                while block := stream.read(BLOCK):
                    target.write(block)
        except OSError as error:
            raise ArtifactError(f"the object {path} can't be copied: {first_line(error)}") from error

    def upload(self, file: Path, path: str) -> str:
        """Stores a file of any size as an object; returns the path. An earlier object is replaced in one step."""
        try:
            if self._moves:
                self._files.create_dir(path.rpartition("/")[0], recursive=True)
            # Elsewhere in S3, too: a stream that is closed by an error ends as an object of what was written.
            with file.open("rb") as source, self._files.open_output_stream(path + PART, **AS_IT_IS) as stream:
                while block := source.read(BLOCK):
                    stream.write(block)
            self._files.move(path + PART, path)
        except OSError as error:
            raise ArtifactError(f"the object store can't store {path}: {first_line(error)}") from error
        return path

    def list(self, folder: str) -> list[str]:
        """Paths of the complete objects in the folder."""
        try:
            found = self._files.get_file_info(fs.FileSelector(folder, allow_not_found=True))
        except OSError as error:
            raise ArtifactError(f"the object store can't list {folder}: {first_line(error)}") from error
        return sorted(
            info.path for info in found if info.type == fs.FileType.File and not info.path.endswith(PART)
        )

    def delete_object(self, path: str) -> None:
        """Removes one object. It may be gone already."""
        try:
            if self._files.get_file_info(path).type == fs.FileType.File:
                self._files.delete_file(path)
        except OSError as error:
            raise ArtifactError(f"the object store can't delete {path}: {first_line(error)}") from error

    def delete(self, folder: str) -> None:
        """Removes everything below the folder."""
        try:
            if self._files.get_file_info(folder).type == fs.FileType.Directory:
                self._files.delete_dir(folder)
        except OSError as error:
            raise ArtifactError(f"the object store can't delete {folder}: {first_line(error)}") from error

    def _write(self, path: str, content: bytes) -> None:
        with self._files.open_output_stream(path, **AS_IT_IS) as stream:
            stream.write(content)
