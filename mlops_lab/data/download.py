"""Fetches the public data sets from their publishers, for the Data API to serve in place of the synthetic.

A broken connection is taken up where it stopped (HTTP Range), the digest of what came is checked against the
one known or recorded at the first download, and the CSV appears in the folder whole or not at all.
"""

import csv
import gzip
import hashlib
import io
import json
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx

from mlops_lab.errors import LabError

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes there will be, None when the publisher doesn't say."""

ATTEMPTS = 4  # without a single new byte
ARCHIVE = "archive"  # name under which the digest of the archive itself is recorded


class DownloadError(LabError):
    """A public data set can't be fetched; the text says what to do instead."""


class ChecksumError(DownloadError):
    """What came is not what was published, or not what came the first time."""


@dataclass(frozen=True)
class PublicDataset:
    """Where a data set is published and how it becomes the CSV file that the Data API knows.

    `sha256` None: not known beforehand; the digest of the first download is recorded and holds from then on.
    `unpack` writes the CSV, given the downloaded archive.
    """

    url: str
    page: str
    file: str
    unpack: Callable[[Path, BinaryIO], None]
    sha256: str | None = None


def download(
    dataset: str,
    folder: Path,
    progress: Progress = lambda done, total: None,
    published: dict[str, PublicDataset] | None = None,
) -> Path:
    """Fetches `dataset` into `folder` and returns the path of its CSV file; one that is here is kept.

    Raises DownloadError when the publisher can't be reached, can't be asked without a login, or doesn't know
    the file; ChecksumError when the digest is another one.
    """
    public = (PUBLISHED if published is None else published).get(dataset)
    if public is None:
        known = ", ".join([*DATASETS, *BY_HAND])
        raise DownloadError(BY_HAND.get(dataset) or f"no public data set {dataset!r}; there are {known}")
    target = folder / public.file
    record = folder / f"{public.file}.sha256"
    by_hand = folder / f"{public.file}.gz"
    if by_hand.exists():
        return by_hand
    if target.exists():
        if record.exists() and _recorded(record).get(target.name) != _digest(target):
            raise ChecksumError(f"{target} is not the file that was downloaded; remove it to get it again")
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        archive = folder / f"{public.file}.part"
        _fetch(public, archive, progress)
        _check(public, archive, record)
        _unpack(public, archive, target)
        _write_record(record, {ARCHIVE: _digest(archive), target.name: _digest(target)})
        _forget(archive)
    except OSError as error:
        raise DownloadError(
            f"{dataset} can't be kept in {folder}: {error.strerror}; free space or choose --folder"
        ) from error
    return target


def _fetch(public: PublicDataset, archive: Path, progress: Progress) -> None:
    """Downloads to `archive`, from where an earlier try stopped; tries again as long as bytes keep coming."""
    failures = 0
    with httpx.Client(follow_redirects=True, timeout=httpx.Timeout(30, connect=15)) as client:
        while True:
            before = _size(archive)
            try:
                _fetch_once(client, public, archive, progress)
                return
            except httpx.HTTPError as error:
                failures = 1 if _size(archive) > before else failures + 1
                if failures >= ATTEMPTS or isinstance(error, httpx.UnsupportedProtocol):
                    raise DownloadError(
                        f"{public.url} can't be reached ({error or type(error).__name__}); what came so far "
                        f"is kept: try again later, or get it by hand from {public.page} and put "
                        f"{public.file} into {archive.parent}"
                    ) from error
                time.sleep(min(0.2 * 2**failures, 5))


def _fetch_once(client: httpx.Client, public: PublicDataset, archive: Path, progress: Progress) -> None:
    have = _size(archive)
    version = _version(archive).read_text() if have and _version(archive).exists() else ""
    # If-Range: the rest only if it is the rest of the same file, otherwise all of the new one.
    # Identity, because a range of a compressed answer is no range of the file.
    headers = {"Accept-Encoding": "identity"}
    if version:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    with client.stream("GET", public.url, headers=headers) as reply:
        if reply.status_code == 416:
            if reply.headers.get("content-range") == f"bytes */{have}":
                return  # all of it is here already
            _forget(archive)
            raise httpx.RemoteProtocolError("the publisher refused to go on")
        if reply.status_code >= 500 or reply.status_code == 429:
            raise httpx.HTTPStatusError(f"HTTP {reply.status_code}", request=reply.request, response=reply)
        if reply.status_code not in (200, 206):
            raise DownloadError(
                f"{public.url} answered {reply.status_code}; get it by hand from {public.page} "
                f"and put {public.file} into {archive.parent}"
            )
        resumed = reply.status_code == 206 and reply.headers.get("content-range", "").startswith(
            f"bytes {have}-"
        )
        if reply.status_code == 206 and not resumed:
            _forget(archive)
            raise httpx.RemoteProtocolError("the publisher sent another range than asked for")
        if not resumed:
            have = 0
            # A weak validator can't promise the same bytes (RFC 9110, 13.1.5).
            etag = reply.headers.get("etag", "")
            _version(archive).write_text(
                etag if not etag.startswith("W/") else reply.headers.get("last-modified", "")
            )
        length = reply.headers.get("content-length")
        total = have + int(length) if length else None
        with archive.open("ab" if resumed else "wb") as file:
            progress(have, total)
            # Without a chunk size, so that nothing received is held back when the connection breaks.
            for chunk in reply.iter_raw():
                file.write(chunk)
                have += len(chunk)
                progress(have, total)


def _check(public: PublicDataset, archive: Path, record: Path) -> None:
    digest = _digest(archive)
    expected = public.sha256 or _recorded(record).get(ARCHIVE)
    if expected is not None and digest != expected:
        _forget(archive)
        raise ChecksumError(
            f"{public.url} has sha256 {digest[:12]}…, expected {expected[:12]}…: damaged on the way or "
            f"published anew; try again, or remove {record} to accept a new edition"
        )


def _unpack(public: PublicDataset, archive: Path, target: Path) -> None:
    beside = target.with_name(f".{target.name}.part")
    try:
        with beside.open("wb") as file:
            public.unpack(archive, file)
        beside.replace(target)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, gzip.BadGzipFile) as error:
        _forget(archive)
        raise DownloadError(
            f"{public.url} holds no {public.file} ({error}); get it by hand from {public.page}"
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def _unzip_diabetes(archive: Path, out: BinaryIO) -> None:
    with zipfile.ZipFile(archive) as zipped, zipped.open(_member(zipped, "diabetic_data.csv")) as file:
        shutil.copyfileobj(file, out)


def _unzip_covertype(archive: Path, out: BinaryIO) -> None:
    """The publisher's 55 columns without a header (areas and soils as 0/1 columns) as the course's 13."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="")
    with (
        zipfile.ZipFile(archive) as zipped,
        zipped.open(_member(zipped, "covtype.data.gz")) as packed,
        gzip.open(packed, "rt", encoding="ascii", newline="") as file,
    ):
        written = csv.writer(text, lineterminator="\n")
        written.writerow(COVERTYPE_COLUMNS)
        written.writerows(_covertype_rows(csv.reader(file)))
    text.flush()
    text.detach()


def _covertype_rows(rows: Iterable[list[str]]) -> Iterable[list[str]]:
    for row in rows:
        if len(row) != 55:
            raise ValueError(f"a row has {len(row)} values, expected 55")
        area = WILDERNESS_AREAS[row[10:14].index("1")]
        soil = SOIL_TYPES[row[14:54].index("1")]
        # The course counts the classes from 0, the publisher from 1.
        yield [*row[:10], area, f"C{soil}", str(int(row[54]) - 1)]


def _member(zipped: zipfile.ZipFile, name: str) -> str:
    for member in zipped.namelist():
        if member.rsplit("/", 1)[-1] == name:
            return member
    raise KeyError(f"the archive has no {name}")


def _version(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.version")


def _forget(archive: Path) -> None:
    archive.unlink(missing_ok=True)
    _version(archive).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


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


def _write_record(record: Path, digests: dict[str, str]) -> None:
    beside = record.with_name(f".{record.name}.part")
    beside.write_text(json.dumps(digests, indent=1) + "\n")
    beside.replace(record)


COVERTYPE_COLUMNS = (
    "Elevation", "Aspect", "Slope", "Horizontal_Distance_To_Hydrology", "Vertical_Distance_To_Hydrology",
    "Horizontal_Distance_To_Roadways", "Hillshade_9am", "Hillshade_Noon", "Hillshade_3pm",
    "Horizontal_Distance_To_Fire_Points", "Wilderness_Area", "Soil_Type", "Cover_Type",
)  # fmt: skip
WILDERNESS_AREAS = ("Rawah", "Neota", "Commanche", "Cache")
# Code of the landscape unit of each of the publisher's soil types 1 to 40 (covtype.info).
SOIL_TYPES = (
    2702, 2703, 2704, 2705, 2706, 2717, 3501, 3502, 4201, 4703, 4704, 4744, 4758, 5101,
    5151, 6101, 6102, 6731, 7101, 7102, 7103, 7201, 7202, 7700, 7701, 7702, 7709, 7710,
    7745, 7746, 7755, 7756, 7757, 7790, 8703, 8707, 8708, 8771, 8772, 8776,
)  # fmt: skip

PUBLISHED = {
    "diabetes": PublicDataset(
        url="https://archive.ics.uci.edu/static/public/296/diabetes+130-us+hospitals+for+years+1999-2008.zip",
        page="https://archive.ics.uci.edu/dataset/296",
        file="diabetic_data.csv",
        unpack=_unzip_diabetes,
    ),
    "covertype": PublicDataset(
        url="https://archive.ics.uci.edu/static/public/31/covertype.zip",
        page="https://archive.ics.uci.edu/dataset/31",
        file="covertype.csv",
        unpack=_unzip_covertype,
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
