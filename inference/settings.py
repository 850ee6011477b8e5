"""The service's own settings `LAB_INFERENCE_*`, in addition to those of the lab."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from mlops_lab.settings import Settings


class InferenceSettings(Settings):
    """The lab's settings, and those of the service alone."""

    flags: ClassVar[dict[str, str]] = {
        "--host": "bind",
        "--port": "inference_port",
        "--access-log": "inference_access_log",
    }

    inference_access_log: bool = Field(False, description="one log line for each request")

    inference_poll: float = Field(5.0, gt=0, description="seconds between two checks of the aliases")
    inference_spool: Path | None = Field(
        None,
        description="folder of the prediction spool; each replica takes a subfolder; default: LAB_HOME/spool",
    )
    inference_spool_limit: int = Field(
        2**30, ge=2**20, description="bytes of the spool beyond which nothing is logged"
    )
    inference_models: Path | None = Field(
        None, description="folder of downloaded models; default: LAB_HOME/serving"
    )
    inference_max_rows: int = Field(10_000, ge=1, description="rows that a request may have")
    inference_max_body: int = Field(8 * 2**20, ge=1024, description="bytes that a request may have")
    inference_max_bodies: int = Field(
        64 * 2**20, ge=1024, description="bytes of all requests that are held at once"
    )

    @property
    def spool(self) -> Path:
        return self.inference_spool or self.home.resolve() / "spool"

    @property
    def models(self) -> Path:
        return self.inference_models or self.home.resolve() / "serving"
