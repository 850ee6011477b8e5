"""The page: a form for the served champion, its prediction with the SHAP plot, and the history of versions."""

from typing import Any

import gradio as gr

from gradio_app import events
from gradio_app.events import COLUMNS, HIDDEN, Events
from gradio_app.form import NARROW
from mlops_lab.client import InferenceClient
from mlops_lab.form import HINT

WIDTHS: list[int | str] = [85, 110, 170, 105, 90, 95, 110, 395]
# Gradio's own fonts are loaded from the internet. A page of the lab loads nothing from there.
THEME = gr.themes.Default(
    primary_hue="blue",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)
STYLE = """
.gradio-container {max-width: 1240px !important; margin: auto !important}
/* Gradio's grey for the range of a field has a contrast of 1.9. */
[data-testid="block-info"] ~ div, .gradio-container .info {color: var(--body-text-color) !important}
#answer h2 {margin: 0; font-size: 2rem}
#table * {font-family: system-ui, sans-serif}
"""


def build(client: InferenceClient, refresh: float) -> gr.Blocks:
    """The page over one prediction API. refresh: seconds between two updates of an open page."""
    page = Events(client)
    with gr.Blocks(title="MLOps lab", analytics_enabled=False) as blocks:
        # The chosen use case. The box itself can't hold it: Gradio checks its value against an older list of choices.
        chosen = gr.State(None)
        # The service's reply at the last probe.
        models = gr.State(())
        # (use case, version) that the form is made for.
        served = gr.State(None)
        # The use case in the address of a new page.
        asked = gr.State(None)
        # Use case → row: the typed values stay when a new champion is served or another use case is chosen.
        typed = gr.State({})
        # The history of versions that the page shows.
        told = gr.State(None)
        with gr.Row(equal_height=True):
            with gr.Column(min_width=NARROW):
                gr.Markdown("# MLOps lab")
            use_case = gr.Dropdown(
                [], label="Use case", interactive=True, filterable=False, elem_id="use-case", min_width=NARROW
            )
        notice = gr.Markdown(visible=False, elem_id="notice")
        trouble = gr.Markdown(visible=False, elem_id="trouble")
        with gr.Tab("Predict"), gr.Row():
            with gr.Column(scale=3):
                place = gr.Column()
            with gr.Column(scale=2):
                answer = gr.Markdown(HINT, elem_id="answer")
                moved = gr.HTML(visible=False, elem_id="moved")
        with gr.Tab("Models"):
            about = gr.Markdown(elem_id="about")
            scores = gr.HTML(visible=False, elem_id="scores")
            table = gr.Dataframe(
                headers=COLUMNS,
                column_widths=WIDTHS,
                interactive=False,
                wrap=True,
                visible=False,
                elem_id="table",
            )
            with gr.Accordion("Model card", open=False, elem_id="card"):
                model_card = gr.Markdown()

        # A later probe never sets the chosen use case. It would undo a choice that was made while it ran.
        probe: dict[str, Any] = {
            "inputs": [models, asked],
            "outputs": [use_case, chosen, models, notice],
            **HIDDEN,
        }
        blocks.load(events.asked, None, asked, **HIDDEN).then(page.probe, **probe)
        gr.Timer(refresh).tick(page.probe, **probe)
        # The limit of one keeps the events in their order.
        gr.on(
            [chosen.change, models.change],
            events.serve,
            [chosen, models, served],
            [served, trouble],
            concurrency_limit=1,
            **HIDDEN,
        )
        use_case.select(events.choose, None, [chosen, answer, moved], **HIDDEN)
        history: dict[str, Any] = {
            "inputs": [served, told],
            "outputs": [about, model_card, scores, table, told],
            **HIDDEN,
        }
        gr.on([served.change], page.history, **history)
        gr.Timer(refresh).tick(page.history, **history)

        with place:

            @gr.render(inputs=[served, typed], triggers=[served.change], show_progress="hidden")
            def _form(found: tuple[str, int] | None, rows: dict[str, dict]) -> None:
                if found:
                    page.form(found, rows, typed, answer, moved)

    return blocks
