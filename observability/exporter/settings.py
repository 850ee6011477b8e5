"""What the exporter looks at: `LAB_EXPORTER_*` variables, or files of the same names in `LAB_SECRETS_DIR`."""

import os
from pathlib import Path

from pydantic import Field, Json, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class ExporterSettings(BaseSettings):
    """Everything is optional: what isn't named isn't looked at."""

    model_config = SettingsConfigDict(env_prefix="LAB_EXPORTER_", extra="ignore", frozen=True)

    def __init__(self, **values):
        folder = os.environ.get("LAB_SECRETS_DIR")
        super().__init__(_secrets_dir=folder if folder and Path(folder).is_dir() else None, **values)

    raw_url: SecretStr | None = Field(
        None, description="SQLAlchemy URL of RawData: the ledger, models, checks"
    )
    postgres_url: SecretStr | None = Field(None, description="URL of Airflow's PostgreSQL server")
    redis_url: SecretStr | None = Field(None, description="URL of the queue's Redis")
    queue: str = Field("default", description="the list in which Celery's tasks wait")
    probes: Json[dict[str, str]] = Field(
        "{}", description='JSON: service → URL that answers 2xx, `{"mlflow": "http://…"}`'
    )
    airflow_url: str | None = Field(None, description="Airflow's health, `http://…/api/v2/monitor/health`")
    disk: Path = Field(Path("/"), description="a path on the disk whose free space is told")
    timeout: float = Field(4.0, description="seconds that each look may take", gt=0)
