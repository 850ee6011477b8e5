"""Fetches the public data sets from their publishers, for the Data API to serve instead of synthetic data.

The CSV file appears in the folder whole or not at all. The archive's digest is checked: against the published one,
or against that of the first download, which is recorded beside the file.
"""

import gzip
import hashlib
import json
import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from mlops_lab.data import covertype
from mlops_lab.errors import LabError

Progress = Callable[[int, int | None], None]
"""Called with the bytes received and the bytes in total, None when the publisher doesn't say."""

ATTEMPTS = 4

# Name under which the record holds the digest of the archive itself.
ARCHIVE = "archive"


class DownloadError(LabError):
    """A public data set can't be fetched; the text says what to do instead."""


class ChecksumError(DownloadError):
    """The file isn't the published one, or not that of the first download."""


@dataclass(frozen=True)
class PublicDataset:
    """Where a data set is published and how it becomes the CSV file that the Data API knows.

    url: a zip archive; page: where a person finds it. file: name of the CSV file. member: the archive's file that
    holds the data. convert: writes the CSV from it. sha256: of the archive; None: recorded at the first download.
    """

    url: str
    page: str
    file: str
    member: str
    convert: Callable[[IO[bytes], IO[bytes]], None] = shutil.copyfileobj
    sha256: str | None = None


PUBLISHED = {
    "diabetes": PublicDataset(
        url="https://archive.ics.uci.edu/static/public/296/diabetes+130-us+hospitals+for+years+1999-2008.zip",
        page="https://archive.ics.uci.edu/dataset/296",
        file="diabetic_data.csv",
        member="diabetic_data.csv",
    ),
    "covertype": PublicDataset(
        url="https://archive.ics.uci.edu/static/public/31/covertype.zip",
        page="https://archive.ics.uci.edu/dataset/31",
        file="covertype.csv",
        member="covtype.data.gz",
        convert=covertype.write_csv,
    ),
}
DATASETS = tuple(PUBLISHED)
"""The data sets that can be fetched without a login."""

BY_HAND = {
    "realtor": (
        "the publisher of the realtor listings asks for a login: download realtor-data.zip.csv from "
        "https://www.kaggle.com/datasets/ahmedshahriarsakib/usa-real-estate-dataset and put it into the Data "
        "API's folder as realtor.csv; until then the Data API serves its synthetic market"
    )
}


def download(
    dataset: str,
    folder: Path,
    progress: Progress = lambda done, total: None,
    published: dict[str, PublicDataset] = PUBLISHED,
) -> Path:
    """Fetches `dataset` into `folder` and returns the path of its CSV file; an existing one is kept.

    Raises `DownloadError` when the publisher can't be reached, asks for a login, or doesn't have the file, and
    `ChecksumError` when a digest differs.
    """
    public = published.get(dataset)
    if public is None:
        known = ", ".join([*DATASETS, *BY_HAND])
        raise DownloadError(BY_HAND.get(dataset) or f"no public data set {dataset!r}; there are {known}")
    target, record = folder / public.file, folder / f"{public.file}.sha256"
    compressed = folder / f"{public.file}.gz"
    if compressed.exists():
        return compressed
    if target.exists():
        if record.exists() and _recorded(record).get(target.name) != _digest(target):
            raise ChecksumError(f"{target} is not the file that was downloaded; remove it to get it again")
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as scratch:
            archive, csv, digests = (Path(scratch) / name for name in ("archive", "csv", "digests"))
            _fetch(public, archive, folder, progress)
            _check(public, archive, record)
            _unpack(public, archive, csv)
            digests.write_text(json.dumps({ARCHIVE: _digest(archive), target.name: _digest(csv)}) + "\n")
            digests.replace(record)
            csv.replace(target)
    except OSError as error:
        raise DownloadError(
            f"{dataset} can't be kept in {folder}: {error.strerror}; free space or choose --folder"
        ) from error
    return target


def _fetch(public: PublicDataset, archive: Path, folder: Path, progress: Progress) -> None:
    by_hand = f"get it by hand from {public.page} and put {public.file} into {folder}"
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with (
                httpx.stream("GET", public.url, follow_redirects=True, timeout=30) as reply,
                archive.open("wb") as file,
            ):
                reply.raise_for_status()
                total = int(reply.headers["content-length"]) if "content-length" in reply.headers else None
                progress(0, total)
                for chunk in reply.iter_raw():
                    file.write(chunk)
                    progress(file.tell(), total)
            return
        except httpx.HTTPError as error:
            status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else 503
            if status < 500 and status != 429:
                raise DownloadError(f"{public.url} answered {status}; {by_hand}") from error
            if attempt == ATTEMPTS or isinstance(error, httpx.UnsupportedProtocol):
                reason = str(error).partition("\n")[0] or type(error).__name__
                raise DownloadError(
                    f"{public.url} can't be reached ({reason}); try again later, or {by_hand}"
                ) from error
            time.sleep(0.2 * 2**attempt)


def _check(public: PublicDataset, archive: Path, record: Path) -> None:
    digest = _digest(archive)
    expected = public.sha256 or _recorded(record).get(ARCHIVE)
    if expected is not None and digest != expected:
        raise ChecksumError(
            f"{public.url} has sha256 {digest[:12]}…, expected {expected[:12]}…: damaged on the way or "
            f"published anew; try again, or remove {record} to accept a new edition"
        )


def _unpack(public: PublicDataset, archive: Path, csv: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as zipped, csv.open("wb") as out:
            found = [name for name in zipped.namelist() if Path(name).name == public.member]
            if not found:
                raise ValueError(f"the archive has no {public.member}")
            with zipped.open(found[0]) as data:
                public.convert(data, out)
    except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, ValueError) as error:
        raise DownloadError(
            f"{public.url} holds no {public.file} ({error}); get it by hand from {public.page}"
        ) from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _recorded(record: Path) -> dict[str, str]:
    if not record.exists():
        return {}
    try:
        return {name: str(digest) for name, digest in json.loads(record.read_text()).items()}
    except (ValueError, AttributeError) as error:
        raise ChecksumError(f"{record} is damaged; remove it to record the digest again") from error
