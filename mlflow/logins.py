"""Creates MLflow's logins, where it requires one: writes the passwords of the secrets folder to MLflow's user tables.

`python logins.py FOLDER CONFIG` also writes the configuration of MLflow's login to the file CONFIG. Every login can
read everything and owns what it creates: `pipeline` its experiments, models and aliases, `notebooks` its experiments.
`admin` can do everything. The script runs before every start, so that new passwords reach the tables.
"""

import sys
from pathlib import Path

from alembic.command import stamp
from alembic.config import Config
from sqlalchemy import create_engine, inspect

# name: whether it is an administrator
LOGINS = {"admin": True, "pipeline": False, "notebooks": False, "reader": False}


def main(folder: Path, config: Path) -> None:
    """Creates the missing logins and sets the current password of each."""
    database = (folder / "backend-url").read_text()
    config.touch(mode=0o600)
    config.write_text(
        "[mlflow]\n"
        f"database_uri = {database.replace('%', '%%')}\n"
        "admin_username = admin\n"
        "default_permission = READ\n"
        "auth_cache_ttl_seconds = 60\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    # This module reads the configuration when it is imported.
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    make_tables(database)
    users = SqlAlchemyStore()
    users.init_db(database)
    for name, is_admin in LOGINS.items():
        password = (folder / f"{name}-password").read_text()
        if not users.has_user(name):
            users.create_user(name, password, is_admin=is_admin)
        elif not users.authenticate_user(name, password):
            users.update_user(name, password=password)


def make_tables(database: str) -> None:
    """Creates MLflow's user tables.

    MLflow's first migrations fail on MySQL: two keys have the same name (mlflow/mlflow#9642), and reading the version
    locks the migration (mlflow/mlflow#15108). So a new database gets the current tables at once, and the version from
    which later migrations continue.
    """
    from mlflow.server.auth.db import models, utils

    engine = create_engine(database)
    if not inspect(engine).has_table("alembic_version_auth"):
        models.Base.metadata.create_all(engine)
        migrations = Config()
        migrations.set_main_option("script_location", str(Path(utils.__file__).parent / "migrations"))
        migrations.set_main_option("sqlalchemy.url", database.replace("%", "%%"))
        stamp(migrations, "head")
    utils.migrate(engine, "head")
    engine.dispose()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
