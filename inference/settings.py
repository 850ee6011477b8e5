"""The service's own settings, beside those of the lab: `LAB_INFERENCE_*`."""

from pathlib import Path

from pydantic import Field

from mlops_lab.settings import Settings


class InferenceSettings(Settings):
    """The lab's settings and what only the service needs."""

    inference_poll: float = Field(5.0, gt=0, description="seconds between two looks at the aliases")
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
    inference_max_rows: int = Field(10_000, ge=1, description="rows a request may bring")
    inference_max_body: int = Field(32 * 2**20, ge=1024, description="bytes a request may bring")

    @property
    def spool(self) -> Path:
        return self.inference_spool or self.home.resolve() / "spool"

    @property
    def models(self) -> Path:
        return self.inference_models or self.home.resolve() / "serving"
