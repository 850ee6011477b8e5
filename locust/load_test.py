"""`make load-test`: runs `load_search.py` against the running prediction API, or against a small lab that it boots."""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from mlops_lab.client import InferenceClient
from mlops_lab.errors import LabError
from mlops_lab.local.signals import ended_by_signal
from mlops_lab.settings import Settings, SettingsError

HERE = {"127.0.0.1", "localhost", "::1"}
SEARCH = Path(__file__).parent / "load_search.py"
# The options that the search takes.
OPTIONS = ("bound", "minutes", "hold", "most", "out")


class LoadTestError(LabError):
    """The address may not be load-tested."""


def main() -> int:
    """Exit status 0 when the report was written."""
    parser = argparse.ArgumentParser(prog="make load-test", description=__doc__)
    parser.add_argument("--url", help="default: LAB_INFERENCE_URL, else a running lab, else a small lab")
    parser.add_argument(
        "--use-cases", nargs="+", default=["housing", "diabetes", "covertype"], help="of the small lab"
    )
    parser.add_argument(
        "--bound",
        type=float,
        default=100,
        help="milliseconds that 95 %% of the answers may take (%(default)s)",
    )
    parser.add_argument("--minutes", type=float, default=5, help="time limit, without the boot (%(default)s)")
    parser.add_argument("--hold", type=float, default=5, help="seconds of measurement per step (%(default)s)")
    parser.add_argument(
        "--most", type=int, default=4_000, help="largest number of users to try (%(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("reports/load-test"), help="folder of the report (%(default)s)"
    )
    arguments = parser.parse_args()
    try:
        with ended_by_signal(), prediction_api(Settings(), arguments.url, arguments.use_cases) as url:
            options = [f"--{name}={getattr(arguments, name)}" for name in OPTIONS]
            command = [sys.executable, str(SEARCH), *options]
            status = subprocess.run(
                command, env=os.environ | {"LAB_INFERENCE_URL": url}, check=False
            ).returncode
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    if status == 0:
        print(f"report: {arguments.out / 'report.html'}, with report.png and report.json beside it")
    return status


@contextmanager
def prediction_api(settings: Settings, url: str | None, use_cases: list[str]) -> Iterator[str]:
    """The URL of the API to test: the given one, that of a running lab, or that of a small lab, booted for this block.

    Raises `LoadTestError` for a URL of another machine, and `ServiceAwayError` when no service answers at the URL.
    """
    usual = f"http://127.0.0.1:{settings.inference_port}"
    if url := url or settings.inference_url:
        if urlsplit(url).hostname not in HERE:
            raise LoadTestError(
                f"{url} is not on this machine; a load test is only for 127.0.0.1: change LAB_INFERENCE_URL or --url"
            )
        InferenceClient(url).health()
    elif _answers(usual):
        url = usual
    if url:
        print(f"load test of {url}; its requests are added to the prediction log", flush=True)
        yield url
        return
    from mlops_lab.local.small_lab import small_lab

    print("no running lab was found; a small one is booted", flush=True)
    folder = settings.use_cases
    with small_lab(use_cases, use_cases=folder, progress=lambda line: print(line, flush=True)) as small:
        yield small.inference_url


def _answers(url: str) -> bool:
    try:
        return bool(InferenceClient(url, timeout=3).health())
    except LabError:
        return False


if __name__ == "__main__":
    sys.exit(main())
