"""The Gradio page's settings: `LAB_*` variables."""

from typing import ClassVar

from pydantic import Field, SecretStr

from mlops_lab.settings import API_KEY, GRADIO_PORT, INFERENCE_PORT, LabSettings, Port, local_url


class PageSettings(LabSettings):
    """The page calls the prediction API alone; the versions' history comes through it too."""

    flags: ClassVar[dict[str, str]] = {"--host": "bind", "--port": "gradio_port"}

    inference_url: str = local_url(INFERENCE_PORT)
    api_key: SecretStr | None = API_KEY
    bind: str = Field("127.0.0.1", description="address to listen on")
    gradio_port: Port = Field(GRADIO_PORT, description="port to listen on")
    page_refresh: float = Field(10, description="seconds between two refreshes of an open page", ge=1)
