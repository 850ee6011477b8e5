"""The exporter's settings: `LAB_EXPORTER_*` variables, or files of the same names in `LAB_SECRETS_DIR`."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field, Json, SecretStr
from pydantic_settings import SettingsConfigDict

from mlops_lab.settings import LabSettings, Port


class ExporterSettings(LabSettings):
    """Everything is optional: a service that isn't named isn't probed."""

    model_config = SettingsConfigDict(env_prefix="LAB_EXPORTER_")

    flags: ClassVar[dict[str, str]] = {"--host": "bind", "--port": "port"}

    bind: str = Field("127.0.0.1", description="address to listen on")
    port: Port = Field(9108, description="port to listen on")
    raw_url: SecretStr | None = Field(
        None, description="SQLAlchemy URL of RawData: the ledger, models, checks"
    )
    postgres_url: SecretStr | None = Field(None, description="URL of Airflow's PostgreSQL server")
    redis_url: SecretStr | None = Field(None, description="URL of the queue's Redis")
    queue: str = Field("default", description="the list in which Celery's tasks wait")
    # The default is validated as a variable is, so it is JSON, too.
    probes: Json[dict[str, str]] = Field(  # pyrefly: ignore[bad-assignment]
        "{}",
        description='JSON: service → URL that answers 2xx, `{"mlflow": "http://…"}`',
    )
    airflow_url: str | None = Field(None, description="Airflow's health, `http://…/api/v2/monitor/health`")
    disk: Path = Field(Path("/"), description="a path on the disk whose free space is reported")
    timeout: float = Field(4.0, description="seconds that each probe may take", gt=0)
