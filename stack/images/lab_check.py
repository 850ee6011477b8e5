#!/usr/local/bin/python3 -IS
"""lab-check, the health check of the lab's own images: sends an HTTP request to a service in the same container.

The exit status is 0 when the service answers 200 within 8 seconds and, where a value is given, its JSON reply has
that value. Otherwise it is 1, with the reason on stderr.
"""

import argparse
import json
import sys
from base64 import b64encode
from http.client import HTTPConnection, HTTPException
from pathlib import Path

TIMEOUT = 8


def check(address: str, expected: str | None, login: str | None) -> None:
    """Raises OSError, HTTPException, ValueError or LookupError with the reason when the service is not healthy."""
    port, _, path = address.partition("/")
    connection = HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT)
    connection.request("GET", f"/{path}", headers=_headers(login))
    reply = connection.getresponse()
    body = reply.read()
    if reply.status != 200:
        raise ValueError(f"status {reply.status}")
    if expected:
        keys, _, wanted = expected.partition("=")
        value = json.loads(body)
        for key in keys.split("."):
            value = value[key]
        if value != wanted:
            raise ValueError(f"{keys} is {value}")


def _headers(login: str | None) -> dict[str, str]:
    if not login:
        return {}
    user, _, file = login.partition(":")
    return {"Authorization": "Basic " + b64encode(f"{user}:{Path(file).read_text()}".encode()).decode()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="lab-check", description="Exit status 0 when the service is healthy."
    )
    parser.add_argument("address", metavar="PORT/PATH")
    parser.add_argument("expected", metavar="KEY.KEY=VALUE", nargs="?", help="a value in the JSON reply")
    parser.add_argument(
        "--login", metavar="USER:FILE", help="HTTP basic authentication; FILE holds the password"
    )
    try:
        check(**vars(parser.parse_args()))
    except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
        sys.exit(f"lab-check: {type(error).__name__}: {error}")
