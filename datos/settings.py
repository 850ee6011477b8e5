"""Settings of the Data API, read from LAB_DATOS_* variables."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from datos.synthetic.market import DEFAULT_SCALE


class DatosSettings(BaseSettings):
    """What the Data API serves and where it keeps its positions."""

    model_config = SettingsConfigDict(env_prefix="LAB_DATOS_", env_ignore_empty=True, frozen=True)

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
        description="Seconds for which a batch repeats when no day is given; 0: each call moves on",
    )
    folder: Path | None = Field(None, description="Folder of CSV and CSV.gz files to serve")
    state: Path | None = Field(
        None,
        description="File that keeps the positions; without it a restart begins again",
    )
