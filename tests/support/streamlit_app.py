"""A Streamlit page run in this process, against any services."""

from dataclasses import dataclass, field

import pytest
from streamlit.testing.v1 import AppTest

from mlops_lab.settings import REPOSITORY
from tests.support import processes

VIEWS = REPOSITORY / "streamlit" / "views"


def page(view: str, name: str) -> None:
    import runpy

    import ui_frame

    ui_frame.head(name)
    runpy.run_path(view)


@dataclass
class Pages:
    """Runs one page against the services, some of which are away."""

    monkeypatch: pytest.MonkeyPatch
    addresses: dict[str, str] = field(default_factory=dict)

    def show(self, name: str, use_case: str | None = "housing", part: str = "", **addresses: str) -> AppTest:
        """The page. part: which of its tabs is open. addresses: service → where it is looked for instead."""
        for service, url in (self.addresses | addresses).items():
            self.monkeypatch.setenv(f"LAB_{service.upper()}_URL", url)
        self.forget()
        app = AppTest.from_function(
            page, default_timeout=processes.PATIENCE, args=(str(VIEWS / f"{name}.py"), name.capitalize())
        )
        if use_case:
            app.query_params["use_case"] = use_case
        if part:
            app.session_state[f"{use_case} {name} parts"] = part
        app.run()
        assert not app.exception, app.exception[0].value
        return app

    def forget(self) -> None:
        """Nothing that was cached for other addresses stays."""
        import ui_settings

        import streamlit

        ui_settings.settings.cache_clear()
        streamlit.cache_data.clear()
        streamlit.cache_resource.clear()


def words(app: AppTest) -> str:
    """All texts of the page, one a line, without those of the runbooks."""
    import ui_alerts

    kinds = ("markdown", "caption", "warning", "info", "error", "success", "metric")
    texts = [str(element.value) for kind in kinds for element in app.get(kind)]
    return "\n".join(text for text in texts if text not in ui_alerts.runbooks().values())
