"""`python -m gradio_app`: the page on its own small server."""

import argparse
import os
import sys

from pydantic import ValidationError

# Gradio reads it at import.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from gradio_app.page import STYLE, THEME, build
from gradio_app.settings import PageSettings
from mlops_lab.client import InferenceClient

AT_ONCE = 8  # predictions and looks under way at a time; each waits for the prediction API


def main() -> int:
    """Serves the page until it is told to stop; its exit code."""
    try:
        settings = PageSettings()
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        return _stop(f"setting LAB_{str(problem['loc'][0]).upper()}: {problem['msg']}")
    parser = argparse.ArgumentParser(prog="python -m gradio_app", description="The Gradio page.")
    parser.add_argument(
        "--host", default=settings.bind, help=f"address to listen on (default: {settings.bind})"
    )
    parser.add_argument("--port", type=int, default=settings.gradio_port, help="(default: %(default)s)")
    arguments = parser.parse_args()

    page = build(InferenceClient(settings.inference_url, timeout=30), settings.page_refresh)
    page.queue(default_concurrency_limit=AT_ONCE, api_open=False)
    try:
        page.launch(
            server_name=arguments.host,
            server_port=arguments.port,
            theme=THEME,
            css=STYLE,
            footer_links=[],
            share=False,
            ssr_mode=False,
            pwa=False,
            max_file_size=1,  # nothing is ever uploaded here
            quiet=True,
        )
    except OSError:
        return _stop(
            f"can't listen on {arguments.host}:{arguments.port}; "
            "choose another port with --port or LAB_GRADIO_PORT"
        )
    finally:
        gr.close_all(verbose=False)
    return 0


def _stop(line: str) -> int:
    print(f"gradio_app: {line}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
