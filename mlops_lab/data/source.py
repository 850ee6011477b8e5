"""The client of the Data API. It requests the next batch from a server of either API variant."""

import re
import time
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import httpx

from mlops_lab.data.payload import Payload
from mlops_lab.errors import LabError, ServiceError

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# Requests to a server that can't be reached or answers 5xx, with pauses of 1, 2 and 4 seconds between them.
ATTEMPTS = 4


class SourceError(ServiceError):
    """The Data API can't be reached, or it refuses the request."""


class EndOfDataError(LabError):
    """The Data API has no further batch. The text is the server's own message."""


class DataApi:
    """url: the base address, with or without `/data` and a query; `{dataset}` in it is replaced. timeout: seconds."""

    def __init__(self, url: str, timeout: float = 120.0):
        self._url = url
        self._timeout = timeout

    def fetch(self, dataset: str) -> Payload:
        """The payload of the next batch.

        After a call the server may go on to the following batch, so the caller stores the payload before anything else.
        Raises `EndOfDataError` when there is no further batch, and `SourceError` when the request fails.
        """
        url, query = self._address(dataset)
        response = self._get(url, query)
        if response.status_code == 422 and "day" not in query and "day" in response.text:
            # One of the two API variants requires the day as well.
            query |= {"day": DAYS[time.localtime().tm_wday]}
            response = self._get(url, query)
        if response.status_code == 400:
            detail = _detail(response)
            # Both API variants reply 400 at the end. Some servers also do so for a wrong group or day.
            if re.search(r"inv[aá]lid", detail, re.IGNORECASE):
                raise SourceError(
                    f"the Data API at {url} refuses the request: {detail}; check LAB_DATA_API_URL"
                )
            raise EndOfDataError(detail)
        if response.status_code != 200:
            raise SourceError(
                f"the Data API at {url} answered {response.status_code}: {_detail(response)}; check LAB_DATA_API_URL"
            )
        return Payload(response.content, str(response.request.url))

    def restart(self, dataset: str) -> None:
        """Resets the server's position: the next batch is the first one. Raises `SourceError` when that fails."""
        url, query = self._address(dataset)
        response = self._get(url.removesuffix("/data") + "/restart_data_generation", query)
        if response.status_code != 200:
            raise SourceError(f"the Data API can't be restarted: {response.status_code} {_detail(response)}")

    def _address(self, dataset: str) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self._url.replace("{dataset}", dataset))
        path = parts.path.rstrip("/")
        if not path.endswith("/data"):
            path += "/data"
        return urlunsplit(parts._replace(path=path, query="")), {
            "group_number": "1",
            **dict(parse_qsl(parts.query)),
        }

    def _get(self, url: str, query: dict[str, str]) -> httpx.Response:
        fault = ""
        for attempt in range(ATTEMPTS):
            try:
                response = httpx.get(url, params=query, timeout=self._timeout)
                if response.status_code < 500:
                    return response
                fault = f"answered {response.status_code} ({_detail(response)})"
            except httpx.HTTPError as error:
                fault = f"can't be reached ({type(error).__name__})"
            if attempt + 1 < ATTEMPTS:
                time.sleep(2**attempt)
        raise SourceError(
            f"the Data API at {url} {fault}, tried {ATTEMPTS} times; start it, or check LAB_DATA_API_URL"
        )


def _detail(response: httpx.Response) -> str:
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.text
    return str(detail).strip()[:300] or "(no text)"
