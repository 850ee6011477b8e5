"""The addresses of the services: `LAB_*` variables, or files of the same names in `LAB_SECRETS_DIR`."""

from functools import cache
from pathlib import Path

from pydantic import Field, SecretStr

from mlops_lab.form import mlflow_page
from mlops_lab.settings import API_KEY, DATA_API_PORT, INFERENCE_PORT, MLFLOW_PORT, LabSettings, local_url


class PageSettings(LabSettings):
    """Addresses as this process reaches them; the public ones are what the user's browser opens."""

    inference_url: str = local_url(INFERENCE_PORT)
    api_key: SecretStr | None = API_KEY
    mlflow_url: str = local_url(MLFLOW_PORT)
    mlflow_username: str | None = None
    mlflow_password: SecretStr | None = None

    airflow_url: str | None = Field(None, description="link only")
    airflow_api_url: str | None = Field(
        None,
        description="asked for its health; where people's decisions go, after they signed in; default: none are taken",
    )
    data_api_url: str = Field(
        local_url(DATA_API_PORT), description="asked for its health where no Prometheus is, never for a batch"
    )
    gradio_url: str | None = Field(None, description="the Gradio page, where it runs; default: not shown")
    inference_public_url: str | None = Field(None, description="default: inference_url")
    mlflow_public_url: str | None = Field(None, description="default: mlflow_url")
    alertmanager_url: str | None = Field(
        None, description="where alerts are read; default: no alerts are shown"
    )
    alertmanager_public_url: str | None = Field(None, description="link; default: alertmanager_url")
    grafana_public_url: str | None = Field(None, description="link only")
    prometheus_public_url: str | None = Field(None, description="link; with it Prometheus is asked, too")
    prometheus_url: str | None = Field(
        None,
        description="default: compose's and the cluster's name of it, where prometheus_public_url is set",
    )
    use_cases: Path | None = Field(None, description="folder of use cases that the page Own data writes to")
    data_folder: Path | None = Field(
        None,
        description="folder of the Data API's files that it writes to; without one of the two it writes nothing",
    )
    page_refresh: int = Field(10, description="seconds between two refreshes of an open page", ge=1)

    @property
    def inference_link(self) -> str:
        return (self.inference_public_url or self.inference_url).rstrip("/")

    def mlflow_page(self, path: str = "experiments") -> str:
        """The address of a page of MLflow, as the person's browser opens it."""
        return mlflow_page(self.mlflow_public_url or self.mlflow_url, path)

    def run_page(self, experiment: str, run: str) -> str:
        """The address of a run's page in MLflow."""
        return self.mlflow_page(f"experiments/{experiment}/runs/{run}")

    @property
    def prometheus(self) -> str | None:
        """Where Prometheus is asked which services it hears from; None where there is none."""
        return self.prometheus_url or ("http://prometheus:9090" if self.prometheus_public_url else None)


@cache
def settings() -> PageSettings:
    return PageSettings()
