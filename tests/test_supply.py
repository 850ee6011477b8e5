"""`make audit` and `make sbom`: known vulnerabilities of the locked packages, and what each image is made of.

tests/stack/test_sbom.py compares a bill of materials with a booted image.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from mlops_lab.local.processes import free_ports
from mlops_lab.settings import REPOSITORY

pytestmark = pytest.mark.process

VULNERABLE, SOUND = "redis", "h11"


class Database(BaseHTTPRequestHandler):
    """Knows one vulnerability of one package, in OSV's form."""

    def do_POST(self):
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = query["package"]["name"]
        versions = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}]
        affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": versions}]
        known = {"id": "LAB-2026-1", "modified": "2026-01-01T00:00:00Z", "affected": affected}
        body = json.dumps({"vulns": [known]} if name == VULNERABLE else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Database)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()
    server.server_close()


def audit(url: str, *locks: Path) -> subprocess.CompletedProcess:
    return run("audit", *map(str, locks), PIP_AUDIT_OSV_URL=url)


def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [str(REPOSITORY / "scripts" / script), *arguments]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=200, check=False
    )


def lock(folder: Path, package: str) -> Path:
    """The package's own lines of the lab's lock."""
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{package}=="))
    end = next(i for i in range(start + 1, len(lines)) if not lines[i].startswith("    --hash"))
    path = folder / f"{package}.txt"
    path.write_text("\n".join(lines[start:end]))
    return path


def test_a_known_vulnerability_fails_the_audit_by_name(database, tmp_path):
    done = audit(database, lock(tmp_path, SOUND), lock(tmp_path, VULNERABLE))
    assert done.returncode == 1, done.stderr
    assert f"{SOUND}.txt: nothing known" in done.stdout
    [line] = [line for line in done.stdout.splitlines() if line.startswith(VULNERABLE)]
    assert "LAB-2026-1" in line
    assert "99.0" in line


def test_without_its_database_the_audit_says_so_and_finds_nothing(tmp_path):
    done = audit(f"http://127.0.0.1:{free_ports(1)[0]}/v1/query", lock(tmp_path, SOUND))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{SOUND}.txt was not checked; it needs the database of vulnerabilities" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_each_image_that_is_built_here_has_a_bill_of_materials(tmp_path):
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"].values()
    built = {service["image"].split("/")[-1].split(":")[0] for service in services if "build" in service}
    # The image of secrets has Debian's packages alone.
    images = " ".join(sorted(built - {"secrets"}))
    done = run("sbom", str(tmp_path), "nothing")
    assert done.returncode == 1
    assert done.stderr == f"sbom: there is no image nothing; the images are {images}\n"
