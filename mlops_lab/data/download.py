"""Downloads the public data sets from their publishers. The Data API then serves them instead of synthetic data.

The CSV file is moved into the folder only when it is complete. The archive's digest is compared with the published
one, or else with the digest of the first download, which is recorded beside the CSV file.
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
from mlops_lab.errors import LabError, first_line

Progress = Callable[[int, int | None], None]
"""Called with the bytes received and the bytes in total; the total is None when the publisher doesn't send it."""

ATTEMPTS = 4

# The record is a JSON object of digests by file name. Under this name it has the archive's digest.
ARCHIVE = "archive"


class DownloadError(LabError):
    """A public data set can't be downloaded. The text says what to do instead."""


class ChecksumError(DownloadError):
    """A digest differs from the published or recorded one."""


@dataclass(frozen=True)
class PublicDataset:
    """Where a data set is published, and how the Data API's CSV file is made from it.

    url: the zip archive. page: the publisher's web page. file: name of the CSV file. member: the data's file in the
    archive. convert: reads the member and writes the CSV file. sha256: the archive's published digest; None: not
    published, so the digest of the first download is recorded.
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
"""The data sets that can be downloaded without a login."""

BY_HAND = {
    "realtor": (
        "the publisher of the realtor listings requires a login: download realtor-data.zip.csv from "
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
    """Downloads `dataset` into `folder` and returns the path of its CSV file. An existing file isn't downloaded again.

    Raises `DownloadError` when the publisher can't be reached, requires a login, or doesn't have the file, or when
    the folder can't be written; `ChecksumError` when a digest differs.
    """
    public = published.get(dataset)
    if public is None:
        known = ", ".join([*DATASETS, *BY_HAND])
        raise DownloadError(BY_HAND.get(dataset) or f"no public data set {dataset!r}; choose one of {known}")
    target, record = folder / public.file, folder / f"{public.file}.sha256"
    compressed = folder / f"{public.file}.gz"
    if compressed.exists():
        return compressed
    if target.exists():
        if record.exists() and _recorded(record).get(target.name) != _digest(target):
            raise ChecksumError(f"{target} has changed since its download; remove it to download it again")
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
            f"{dataset} can't be written to {folder}: {error.strerror}; free space or choose --folder"
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
                raise DownloadError(
                    f"{public.url} can't be reached ({first_line(error)}); try again later, or {by_hand}"
                ) from error
            time.sleep(0.2 * 2**attempt)


def _check(public: PublicDataset, archive: Path, record: Path) -> None:
    digest = _digest(archive)
    expected = public.sha256 or _recorded(record).get(ARCHIVE)
    if expected is not None and digest != expected:
        raise ChecksumError(
            f"{public.url} has sha256 {digest[:12]}…, expected {expected[:12]}…: the transfer damaged it, or there is "
            f"a new edition; try again, or remove {record} to accept a new edition"
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
            f"{public.url} has no usable {public.member} ({error}); get {public.file} by hand from {public.page}"
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
