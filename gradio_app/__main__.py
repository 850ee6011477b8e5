"""`python -m gradio_app`: the page on its own small server."""

import os
import socket
import sys
from collections.abc import Sequence

# Gradio reads it at import.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from gradio_app.page import STYLE, THEME, build
from gradio_app.settings import PageSettings
from mlops_lab.client import InferenceClient
from mlops_lab.serve import serve

# Predictions and refreshes under way at a time; each waits for the prediction API.
CONCURRENCY = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves the page until a signal stops it; returns the exit status."""
    return serve("gradio_app", "The Gradio page.", PageSettings, _run, arguments)


def _run(settings: PageSettings, listener: socket.socket) -> None:
    page = build(
        InferenceClient(settings.inference_url, timeout=30, key=settings.api_key), settings.page_refresh
    )
    page.queue(default_concurrency_limit=CONCURRENCY, api_open=False)
    # Gradio takes an address, not a socket.
    listener.close()
    try:
        page.launch(
            server_name=settings.bind,
            server_port=settings.gradio_port,
            theme=THEME,
            css=STYLE,
            footer_links=[],
            share=False,
            ssr_mode=False,
            pwa=False,
            # Nothing is uploaded here, so one byte is the limit.
            max_file_size=1,
            quiet=True,
        )
    finally:
        gr.close_all(verbose=False)


if __name__ == "__main__":
    sys.exit(main())
