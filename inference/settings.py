"""The service's own settings `LAB_INFERENCE_*`, in addition to those of the lab."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from pydantic import Field, SecretStr

from mlops_lab.api_keys import ApiKey, ApiKeys, read_keys
from mlops_lab.asgi import RECEIVE_SECONDS
from mlops_lab.errors import LabError
from mlops_lab.settings import Settings, SettingsError


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

    inference_max_seconds: float = Field(
        RECEIVE_SECONDS,
        gt=0,
        description="seconds until a request must be here whole, and its reply be taken",
    )
    api_keys: SecretStr | None = Field(
        None, description="hashes of the API keys, one key a line: `name predict,read sha256`; default: off"
    )
    api_keys_file: Path | None = Field(None, description="file of such lines; default: off")

    def keys(self) -> ApiKeys | None:
        """The API keys that are accepted; None while no key is required. Raises `SettingsError` for a wrong list."""
        found = []
        if self.api_keys and self.api_keys.get_secret_value().strip():
            found += self._listed("api_keys", self.api_keys.get_secret_value)
        if self.api_keys_file:
            found += self._listed("api_keys_file", self.api_keys_file.read_text)
        return ApiKeys(found) if found else None

    @property
    def spool(self) -> Path:
        return self.inference_spool or self.home.resolve() / "spool"

    @property
    def models(self) -> Path:
        return self.inference_models or self.home.resolve() / "serving"

    def _listed(self, field: str, text: Callable[[], str]) -> list[ApiKey]:
        try:
            return read_keys(text())
        except OSError as error:
            cause = error.strerror
        except UnicodeDecodeError:
            cause = "it is no text"
        except LabError as error:
            cause = str(error)
        raise SettingsError(f"setting {self.variable(field)}: {cause}")
