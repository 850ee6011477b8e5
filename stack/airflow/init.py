"""Sets Airflow and the lab's own tables up before every start: migrations, the admin's password, the fernet key.

One process runs several `airflow` commands, since each would import all of Airflow anew.
"""

import os
import subprocess
import sys
from pathlib import Path

SECRETS = Path(os.environ.get("LAB_SECRETS_DIR", "/secrets"))


def main() -> None:
    """Both set-ups side by side; fails when either does."""
    tables = subprocess.Popen([sys.executable, "-m", "mlops_lab.cli", "init"])
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
        sys.exit("the lab's tables could not be made; its error is above")
    print("init: Airflow and the lab's tables are ready")


if __name__ == "__main__":
    main()
