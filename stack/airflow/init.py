"""Prepares Airflow and the lab's tables before every start: migrations, the admin's password, the fernet key.

One process runs several `airflow` commands, because each command would import all of Airflow again.
"""

import os
import subprocess
import sys
from pathlib import Path

SECRETS = Path(os.environ.get("LAB_SECRETS_DIR", "/secrets"))


def main() -> None:
    """Prepares both in parallel; exits with an error when one of them fails."""
    tables = subprocess.Popen([sys.executable, "-m", "mlops_lab.cli", "migrate"])
    from airflow.cli import cli_parser

    def airflow(*command: str) -> None:
        arguments = cli_parser.get_parser().parse_args(command)
        arguments.func(arguments)

    airflow("db", "migrate")
    password = (SECRETS / "admin-password").read_text()
    airflow(
        "users", "create", "--username", "admin", "--role", "Admin", "--password", password,
        "--firstname", "Lab", "--lastname", "Admin", "--email", "admin@lab.invalid",
    )  # fmt: skip
    airflow("users", "reset-password", "--username", "admin", "--password", password)
    if "," in (SECRETS / "fernet-key").read_text():
        airflow("rotate-fernet-key")
    if tables.wait(timeout=300):
        sys.exit("the lab's tables could not be created or migrated; the error is above")
    print("init: Airflow and the lab's tables are ready")


if __name__ == "__main__":
    main()
