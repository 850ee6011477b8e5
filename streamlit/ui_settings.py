"""Where the pages find the services: `LAB_*` variables, or files of the same names in `LAB_SECRETS_DIR`."""

import os
from functools import cache
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class PageSettings(BaseSettings):
    """Addresses as this process reaches them; the public ones are what the person's browser opens."""

    model_config = SettingsConfigDict(env_prefix="LAB_", extra="ignore", frozen=True)

    def __init__(self, **values):
        folder = os.environ.get("LAB_SECRETS_DIR")
        super().__init__(_secrets_dir=folder if folder and Path(folder).is_dir() else None, **values)

    inference_url: str = "http://127.0.0.1:8085"
    mlflow_url: str = "http://127.0.0.1:8084"
    mlflow_username: str | None = None
    mlflow_password: SecretStr | None = None

    airflow_url: str | None = Field(None, description="link only; the pages never call Airflow")
    inference_public_url: str | None = Field(None, description="default: inference_url")
    mlflow_public_url: str | None = Field(None, description="default: mlflow_url")
    alertmanager_url: str | None = Field(None, description="who is asked for alerts; nobody when left out")
    alertmanager_public_url: str | None = Field(None, description="link; default: alertmanager_url")
    grafana_public_url: str | None = Field(None, description="link only")
    prometheus_public_url: str | None = Field(None, description="link only")
    page_refresh: int = Field(10, description="seconds after which an open page looks for news", ge=1)

    @property
    def inference_link(self) -> str:
        return (self.inference_public_url or self.inference_url).rstrip("/")

    @property
    def mlflow_link(self) -> str:
        return (self.mlflow_public_url or self.mlflow_url).rstrip("/")


@cache
def settings() -> PageSettings:
    return PageSettings()
