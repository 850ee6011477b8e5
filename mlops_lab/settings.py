"""The lab's settings: `LAB_*` variables, and files of the same names in the folder `LAB_SECRETS_DIR`.

`LabSettings` is the base of every component's settings, and the only reader of the environment. `Settings` are those
of the library: embedded, all data is below `LAB_HOME`; in the full stack the same fields point to MySQL, MinIO
and the other services. A step is the same in both.
"""

import os
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mlops_lab import notify
from mlops_lab.errors import LabError

Port = Annotated[int, Field(ge=0, le=65535)]

REPOSITORY = Path(__file__).resolve().parent.parent

# Where each service listens by default without Docker. docker-compose.yml publishes the same ports.
AIRFLOW_PORT, DATA_API_PORT, MLFLOW_PORT = 8080, 8081, 8084
INFERENCE_PORT, STREAMLIT_PORT, GRADIO_PORT = 8085, 8086, 8087

# The folder beside MLflow's SQLite file.
MLFLOW_ARTIFACTS = "mlflow-artifacts"


# The folder of a lab without Docker.
HOME = Path(".lab")

# What a client of the prediction API sends where the API requires keys.
API_KEY = Field(None, description="API key of the prediction API, where it requires one")


def local_url(port: int) -> str:
    """The address of a service on this machine."""
    return f"http://127.0.0.1:{port}"


def found_home() -> Path:
    """`.lab` in the working folder, else in the nearest folder above that has one, as git and uv find theirs.

    Above, only a folder of this user counts: what others put into a shared folder is no lab of this person.
    Without any it is the one that a command may begin in the working folder.
    """
    if not HOME.is_dir():
        for above in Path.cwd().parents:
            if (above / HOME).is_dir() and (above / HOME).stat().st_uid == os.getuid():
                return above / HOME
    return HOME


class SettingsError(LabError):
    """A setting has a value that can't be used. The text names its variable."""


class LabSettings(BaseSettings):
    """Settings of one component. A file named like a variable in lower case (`lab_raw_db_url`) counts too.

    flags: the command's flags and the settings that they set, for `mlops_lab.serve`. Raises `SettingsError`.
    """

    model_config = SettingsConfigDict(env_prefix="LAB_", extra="ignore", frozen=True)

    flags: ClassVar[dict[str, str]] = {}

    def __init__(self, **values: Any):
        folder = os.environ.get("LAB_SECRETS_DIR")
        try:
            super().__init__(_secrets_dir=folder if folder and Path(folder).is_dir() else None, **values)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            raise SettingsError(f"setting {self.variable(str(fault['loc'][0]))}: {fault['msg']}") from None

    @classmethod
    def variable(cls, field: str) -> str:
        """The name of the environment variable that sets the field."""
        return f"{cls.model_config['env_prefix']}{field}".upper()


class Settings(LabSettings):
    """Every setting of the library."""

    home: Path = Field(default_factory=found_home)
    use_cases: Path = REPOSITORY / "use_cases"
    default_use_case: str = "housing"
    debug: bool = Field(
        False, description="the command `lab` prints the traceback of an error before its line"
    )

    data_api_url: str = Field(
        local_url(DATA_API_PORT) + "/{dataset}",
        description="Data API of either variant; `{dataset}` is filled in, a query (`?group_number=3`) is kept",
    )
    datos_folder: Path | None = Field(
        None, description="folder of files that the embedded Data API serves; default: LAB_HOME/data"
    )
    data_api_timeout: float = Field(300.0, gt=0, description="seconds until a batch must have arrived")
    data_api_max_mb: int = Field(256, ge=1, description="megabytes that a batch may have, unpacked")
    incoming: Path | None = Field(
        None, description="folder where batches arrive before they are stored; default: LAB_HOME/incoming"
    )

    raw_db_url: SecretStr | None = Field(
        None, description="SQLAlchemy URL of RawData; default: SQLite under LAB_HOME"
    )
    clean_db_url: SecretStr | None = Field(None, description="SQLAlchemy URL of CleanData")
    prediction_db_url: SecretStr | None = Field(
        None, description="URL of RawData for the account of the inference service"
    )
    reader_db_url: SecretStr | None = Field(
        None, description="URL of MySQL for the account that may only read; it runs the queries of a scoring"
    )
    predictions_days: int = Field(
        90, ge=0, description="days that predictions and their feedback are kept; 0 keeps all"
    )
    payloads_days: int = Field(
        90, ge=0, description="days that the payload of a batch that is done is kept; 0 keeps all"
    )
    runs_days: int = Field(
        90, ge=0, description="days that runs and versions that nothing needs are kept in MLflow; 0 keeps all"
    )
    airflow_days: int = Field(30, ge=0, description="days that Airflow's runs and logs are kept; 0 keeps all")
    artifacts_url: str | None = Field(
        None, description="`s3://api-artifacts` or a folder; payloads and reports"
    )
    s3_endpoint: str | None = Field(
        None, description="`http://minio:9000`, any server of the S3 API; empty: Amazon's in the region"
    )
    s3_region: str = Field("us-east-1", min_length=1, description="region of the bucket; MinIO takes any")
    s3_addressing: Literal["path", "virtual"] = Field(
        "path", description="where the bucket's name stands: in the address's path, or before its host"
    )
    s3_ca: Path | None = Field(
        None, description="file of the CA certificates (PEM) that check the server's; default: the system's"
    )
    s3_access_key: SecretStr | None = Field(
        None, description="empty: what the environment has, such as a role"
    )
    s3_secret_key: SecretStr | None = None

    mlflow_url: str | None = Field(None, description="MLflow tracking URI; default: SQLite under LAB_HOME")
    allow_unrecorded: bool = Field(
        False, description="whether versions without a record in RawData, registered by hand, are loaded"
    )
    signing_key: SecretStr | None = Field(
        None,
        description="Ed25519 private key (PEM) that signs versions; default: LAB_HOME/secrets/signing_key, made once",
    )
    sign_recorded_until: float = Field(
        0,
        description="UNIX time until which a worker, when it starts, signs what an earlier release registered",
    )
    verify_keys: str | None = Field(
        None,
        description="public keys (PEM) that check a version's signature; default: LAB_HOME/secrets/verify_keys",
    )
    mlflow_username: str | None = None
    mlflow_password: SecretStr | None = None

    inference_url: str | None = Field(
        None, description="the service that must follow a promotion; every address of its name is one replica"
    )
    reload_token: SecretStr | None = Field(None, description="token of `POST /reload`")
    api_key: SecretStr | None = API_KEY
    rollout_timeout: float = Field(
        60.0, description="seconds until every replica must serve the promoted version"
    )

    dask_scheduler: str | None = Field(
        None,
        description="scheduler of a Dask cluster for candidates that learn on one; default: processes on this machine",
    )
    dask_key: SecretStr | None = Field(
        None, description="certificate and private key (PEM) that the cluster, its workers and the lab share"
    )
    dask_timeout: float = Field(60.0, gt=0, description="seconds until a Dask worker must have joined")
    dask_processes: int = Field(2, ge=1, description="worker processes of a Dask cluster on this machine")

    notify_url: SecretStr | None = Field(
        None, description="where decisions are told: webhook, Slack-like webhook, mail; default: nowhere"
    )

    bind: str = Field("127.0.0.1", description="address that the embedded services listen on")
    airflow_port: Port = AIRFLOW_PORT
    data_api_port: Port = DATA_API_PORT
    mlflow_port: Port = MLFLOW_PORT
    inference_port: Port = Field(INFERENCE_PORT, description="port to listen on")
    streamlit_port: Port = STREAMLIT_PORT
    gradio_port: Port = GRADIO_PORT

    @field_validator("s3_endpoint", "s3_ca", "s3_access_key", "s3_secret_key", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        # A file of the secrets folder and a variable of compose are there and empty when nobody sets them.
        return None if value == "" else value

    @field_validator("s3_endpoint")
    @classmethod
    def _whole_address(cls, value: str | None) -> str | None:
        if value and not re.fullmatch(r"https?://[^/@\s]+/?", value):
            raise ValueError("must be http://host:port or https://host:port")
        return value and value.rstrip("/")

    @field_validator("s3_ca")
    @classmethod
    def _is_there(cls, value: Path | None) -> Path | None:
        if value and not value.is_file():
            raise ValueError(f"there is no file {value}")
        return value

    @field_validator("notify_url")
    @classmethod
    def _known_form(cls, url: SecretStr | None) -> SecretStr | None:
        text = url.get_secret_value().strip() if url else ""
        if not text:
            return None
        # Its error is a `LabError`, which pydantic lets through: a wrong URL is said at start, without the URL.
        notify.check(text)
        return SecretStr(text)

    @field_validator("dask_scheduler")
    @classmethod
    def _encrypted(cls, address: str | None) -> str | None:
        # Whoever stands between could run code on both sides.
        if address and not address.startswith("tls://"):
            raise ValueError("it must begin with tls://")
        return address or None

    @property
    def has_lab(self) -> bool:
        """Whether there is a lab to read: a folder of data, or what a setting names."""
        named = {"home", "raw_db_url", "clean_db_url"} & self.model_fields_set
        return bool(named) or self.home.is_dir()

    @cached_property
    def raw_url(self) -> str:
        return self._database(self.raw_db_url, "RawData")

    @cached_property
    def clean_url(self) -> str:
        return self._database(self.clean_db_url, "CleanData")

    @cached_property
    def prediction_url(self) -> str:
        return self.prediction_db_url.get_secret_value() if self.prediction_db_url else self.raw_url

    @cached_property
    def artifacts(self) -> str:
        return self.artifacts_url or str(self.home.resolve() / "api-artifacts")

    @cached_property
    def tracking_uri(self) -> str:
        return self.mlflow_url or self.mlflow_database

    @property
    def mlflow_database(self) -> str:
        """URL of the database of an MLflow on this machine."""
        return f"sqlite:///{self.home.resolve() / 'mlflow.db'}"

    @property
    def mlflow_artifacts(self) -> Path:
        """The folder of its runs' files and models."""
        return self.home.resolve() / MLFLOW_ARTIFACTS

    def _database(self, url: SecretStr | None, name: str) -> str:
        return url.get_secret_value() if url else f"sqlite:///{self.home.resolve() / name}.db"
