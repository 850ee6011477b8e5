"""The client of the Data API. It requests the next batch from a server of either API variant."""

import json
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from ssl import SSLContext
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import httpx

from mlops_lab.errors import LabError, ServiceError, first_line
from mlops_lab.files import FILE_FAULT

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# Requests to a server that can't be reached or answers 5xx, with pauses of 1, 2 and 4 seconds between them.
ATTEMPTS = 4
# The header by which the lab's own Data API recognises a request that is sent again, and the one by which its reply
# names the columns. Other servers ignore both.
KEY = "Idempotency-Key"
COLUMNS = "Column-Names"
# The two parameters of the API. Others that a person puts into the address may be secrets.
PUBLIC = ("group_number", "day")
# Bytes of a reply without a batch that are read: it has one line.
DETAIL = 10_000
MEGABYTE = 1_000_000

# It would log each address with its query.
logging.getLogger("httpx").setLevel(logging.WARNING)


class SourceError(ServiceError):
    """The Data API can't be reached."""


class SourceRefusedError(LabError):
    """The Data API refuses the request. It would refuse the same request again."""


class OversizedError(LabError):
    """The reply is larger than the limit, so it can't be kept."""


class EndOfDataError(LabError):
    """The Data API has no further batch. The text is the server's own message."""


@dataclass(frozen=True)
class _Reply:
    """A reply's status and, when it has no batch, its first bytes.

    file_fault: the lab's own Data API says that a file is missing or at fault, and what to do.
    """

    status: int
    body: bytes
    file_fault: bool = False

    @property
    def detail(self) -> str:
        found = self._object.get("detail", self.body.decode(errors="replace"))
        return str(found).strip()[:300] or "(no text)"

    @property
    def is_end(self) -> bool:
        """Both API variants reply 400 with `{"detail": "…"}` at the end. So may a server that refuses a parameter.

        A proxy's 400 is another document.
        """
        return (
            self.status == 400
            and set(self._object) == {"detail"}
            and isinstance(self._object["detail"], str)
            and not re.search(r"inv[aá]lid|malformed|bad request", self.detail, re.IGNORECASE)
        )

    @property
    def _object(self) -> dict[str, object]:
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


class DataApi:
    """A Data API at one address.

    url:     the base address, with or without `/data`, a login and a query; `{dataset}` in it is replaced.
    timeout: seconds until the whole reply must be there, all attempts together.
    most:    megabytes that a reply may have, unpacked.
    """

    def __init__(self, url: str, timeout: float = 300.0, most: int = 256):
        self._url = url
        self._timeout = timeout
        self._most = most

    def fetch(self, dataset: str, file: Path, key: str = "") -> str:
        """Writes the payload of the next batch to the file; returns its address, without login or secrets.

        The file appears when the payload is complete. After a request the server may go on to the following batch;
        the lab's own Data API repeats a batch that is requested again with the same key.

        Raises `EndOfDataError` when there is no further batch, `OversizedError`, `SourceRefusedError`, and
        `SourceError` when the request fails.
        """
        url, query = self._address(dataset)
        reply = self._ask(url, query, file, key)
        if reply.status == 422 and "day" not in query and b"day" in reply.body:
            # One of the two API variants requires the day as well.
            query |= {"day": DAYS[time.localtime().tm_wday]}
            reply = self._ask(url, query, file, key)
        if reply.is_end:
            raise EndOfDataError(reply.detail)
        if reply.status == 404 and reply.file_fault:
            raise SourceRefusedError(f"the Data API at {url} has {reply.detail}")
        if reply.status != 200:
            raise SourceRefusedError(
                f"the Data API at {url} refuses the request ({reply.status}: {reply.detail}); check LAB_DATA_API_URL"
            )
        shown = {name: value if name in PUBLIC else "***" for name, value in query.items()}
        return f"{url}?{urlencode(shown, safe='*')}"

    def restart(self, dataset: str) -> None:
        """Resets the server's position: the next batch is the first one. Raises as `fetch` does."""
        url, query = self._address(dataset)
        reply = self._ask(url.removesuffix("/data") + "/restart_data_generation", query)
        if reply.status != 200:
            raise SourceRefusedError(f"the Data API can't be restarted: {reply.status} {reply.detail}")

    @property
    def _login(self) -> tuple[str, str] | None:
        parts = urlsplit(self._url)
        return (unquote(parts.username), unquote(parts.password or "")) if parts.username else None

    def _address(self, dataset: str) -> tuple[str, dict[str, str]]:
        """The address without login and query, and the query."""
        parts = urlsplit(self._url.replace("{dataset}", dataset))
        path = parts.path.rstrip("/")
        if not path.endswith("/data"):
            path += "/data"
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=host, path=path, query="")), {
            "group_number": "1",
            **dict(parse_qsl(parts.query)),
        }

    def _ask(self, url: str, query: dict[str, str], file: Path | None = None, key: str = "") -> _Reply:
        """The reply to the request, which is sent again while the server fails and there is time."""
        deadline = time.monotonic() + self._timeout
        for attempt in range(1, ATTEMPTS + 1):
            try:
                reply = self._ask_once(url, query, file, key, deadline)
                if reply.status < 500:
                    return reply
                if reply.file_fault:
                    raise SourceError(f"the Data API at {url} can't serve it: {reply.detail}")
                fault = f"answered {reply.status} ({reply.detail})"
            except httpx.HTTPError as error:
                fault = f"can't be reached ({first_line(error, with_class=True)})"
            pause = 2 ** (attempt - 1)
            if attempt == ATTEMPTS or time.monotonic() + pause > deadline:
                break
            time.sleep(pause)
        times = "once" if attempt == 1 else f"{attempt} times"
        raise SourceError(
            f"the Data API at {url} {fault}, tried {times}; start it, or check LAB_DATA_API_URL"
        )

    def _ask_once(
        self, url: str, query: dict[str, str], file: Path | None, key: str, deadline: float
    ) -> _Reply:
        headers = {"Accept-Encoding": "gzip", COLUMNS: "true"} | ({KEY: key} if key else {})
        wait = max(0.1, deadline - time.monotonic())
        with httpx.stream(
            "GET", url, params=query, headers=headers, auth=self._login, timeout=wait, verify=_certificates()
        ) as response:
            chunks = self._chunks(response, url, deadline)
            if response.status_code == 200 and file is not None:
                _write(file, chunks)
                return _Reply(200, b"")
            body = b""
            for chunk in chunks:
                body += chunk
                if len(body) > DETAIL:
                    break
            return _Reply(response.status_code, body[:DETAIL], FILE_FAULT in response.headers)

    def _chunks(self, response: httpx.Response, url: str, deadline: float) -> Iterator[bytes]:
        """The unpacked body. Raises `OversizedError`, `SourceError` for another packing, and an error of httpx."""
        packing = response.headers.get("Content-Encoding", "identity")
        if packing not in ("identity", "gzip", "deflate"):
            # A few bytes of the others can unpack to gigabytes at once.
            raise SourceError(f"the Data API at {url} packs its reply as {packing}; only gzip is read")
        size = 0
        for chunk in response.iter_bytes():
            size += len(chunk)
            if size > self._most * MEGABYTE:
                raise OversizedError(
                    f"the reply of the Data API at {url} is larger than {self._most:,} MB; "
                    "raise LAB_DATA_API_MAX_MB"
                )
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout(f"not complete in {self._timeout:g} s, LAB_DATA_API_TIMEOUT")
            yield chunk


@cache
def _certificates() -> SSLContext:
    """The trusted certificates. httpx would read them for each request, which takes 22 ms of CPU."""
    return httpx.create_ssl_context()


def _write(file: Path, chunks: Iterator[bytes]) -> None:
    """Writes beside the file and renames, so that a half-written one never counts."""
    part = file.with_name(file.name + ".part")
    try:
        with part.open("wb") as out:
            out.writelines(chunks)
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
