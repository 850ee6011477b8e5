"""Settings of the Data API, read from LAB_DATOS_* variables."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from datos.synthetic.market import DEFAULT_SCALE
from mlops_lab.settings import DATA_API_PORT, LabSettings, Port


class DatosSettings(LabSettings):
    """The Data API's address, data sets and file of positions."""

    model_config = SettingsConfigDict(env_prefix="LAB_DATOS_", env_ignore_empty=True)

    flags: ClassVar[dict[str, str]] = {"--host": "bind", "--port": "port"}

    bind: str = Field("127.0.0.1", description="address to listen on")
    port: Port = Field(DATA_API_PORT, description="port to listen on")

    scale: float = Field(
        DEFAULT_SCALE,
        ge=0.005,
        le=2,
        description="Size of the synthetic data; 1 is the course's",
    )
    seed: int = Field(7, ge=0, description="Seed of the synthetic data")
    interval: float = Field(
        0,
        ge=0,
        description="Seconds for which the list variant repeats a batch; 0: each call gets the next batch",
    )
    folder: Path | None = Field(None, description="Folder of CSV and CSV.gz files to serve")
    state: Path | None = Field(
        None,
        description="File that keeps the positions; without it they are lost at a restart",
    )
