"""Where the page finds the prediction API: `LAB_*` variables."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class PageSettings(BaseSettings):
    """The page knows no other service: the versions' history comes through the prediction API too."""

    model_config = SettingsConfigDict(env_prefix="LAB_", extra="ignore", frozen=True)

    inference_url: str = "http://127.0.0.1:8085"
    bind: str = "127.0.0.1"
    gradio_port: int = 8087
    page_refresh: float = Field(10, description="seconds after which an open page looks for news", ge=1)
