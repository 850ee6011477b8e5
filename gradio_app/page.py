"""The page itself: a form for the served champion, its prediction with the SHAP picture, and the models' history."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import gradio as gr

from gradio_app import picture
from gradio_app.form import FEW, NARROW, form, row
from mlops_lab.client import InferenceClient, NotReady, Predictions, RequestRefused
from mlops_lab.contract import Contract
from mlops_lab.errors import ContractError, LabError
from mlops_lab.formatting import number, show

HIDDEN = {"api_visibility": "private", "show_progress": "hidden"}
HINT = "Fill in what is known and press Predict. It starts as an example; an empty field means unknown."
NO_MODEL = (
    "**No model is served yet.** Let a training run in Airflow (or `lab run`); as soon as its model is promoted, "
    "this page shows it by itself."
)
COLUMNS = ["Version", "Aliases", "Candidate", "Validation", "Test", "Baseline", "Outcome", "Reason"]
WIDTHS = [85, 110, 170, 105, 90, 95, 110, 395]
# Gradio's own fonts come from elsewhere; a page of the lab loads nothing from beyond this machine.
THEME = gr.themes.Default(
    primary_hue="blue",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)
STYLE = """
.gradio-container {max-width: 1240px !important}
#answer h2 {margin: 0; font-size: 2rem}
#table * {font-family: system-ui, sans-serif}
"""


def build(client: InferenceClient, refresh: float) -> gr.Blocks:
    """The page over one prediction API; every `refresh` seconds an open page looks for news."""
    page = _Page(client)
    with gr.Blocks(title="MLOps lab", analytics_enabled=False) as blocks:
        chosen = gr.State(
            None
        )  # the use case; not the box itself, whose choices Gradio checks against older ones
        models = gr.State(())  # what the service knew at the last look
        served = gr.State(None)  # (use case, version) that the form is made for
        asked = gr.State(None)  # the use case that a new page's address named
        typed = gr.State({})  # use case → row: what was typed outlives a new champion and another use case
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
                moved = gr.Plot(label="What moved it", show_label=False, visible=False, elem_id="moved")
        with gr.Tab("Models"):
            about = gr.Markdown(elem_id="about")
            scores = gr.Plot(label="Test score by version", show_label=False, visible=False, elem_id="scores")
            table = gr.Dataframe(
                headers=COLUMNS,
                column_widths=WIDTHS,
                interactive=False,
                wrap=True,
                visible=False,
                elem_id="table",
            )

        # A look never says which use case is chosen: one that was under way while the person chose would undo it.
        look = {"inputs": [models, asked], "outputs": [use_case, chosen, models, notice], **HIDDEN}
        blocks.load(_asked, None, asked, **HIDDEN).then(page.look, **look)
        gr.Timer(refresh).tick(page.look, **look)
        gr.on(
            [chosen.change, models.change],
            choose,
            [chosen, models, served],
            [served, trouble],
            concurrency_limit=1,  # in the order in which they came
            **HIDDEN,
        )
        use_case.select(_chosen, None, [chosen, answer, moved], **HIDDEN)
        gr.on([served.change], page.history, served, [about, scores, table], **HIDDEN)
        gr.Timer(refresh).tick(page.history, served, [about, scores, table], **HIDDEN)

        with place:

            @gr.render(inputs=[served, typed], triggers=[served.change], show_progress="hidden")
            def _form(found: tuple[str, int] | None, rows: dict[str, dict]) -> None:
                if found:
                    page.form(found, rows, typed, answer, moved)

    return blocks


class _Page:
    """What the page does when something happens on it. Holds no state of a visitor."""

    def __init__(self, client: InferenceClient):
        self._client = client
        self._contract = lru_cache(maxsize=50)(self._fetch_contract)
        self._weights = lru_cache(maxsize=50)(self._example_moved)

    def look(self, before: tuple, asked: str | None) -> tuple:
        """The choice of use cases, what is served, and what is wrong, if anything.

        While the service is away everything stays, and with it what was typed.
        """
        try:
            found = self._client.models()
        except LabError as error:
            return gr.skip(), gr.skip(), gr.skip(), _notice(fault(error))
        models = tuple((m.use_case, m.title or _title(m.use_case), m.version, m.error) for m in found)
        notice = _notice("" if models else NO_MODEL)
        if models == before:
            return gr.skip(), gr.skip(), gr.skip(), notice
        choices = [(title, name) for name, title, _, _ in models]
        if before:
            return gr.Dropdown(choices=choices), gr.skip(), models, notice
        names = [name for name, *_ in models]
        first = next((name for name, _, version, _ in models if version), names[0] if names else None)
        first = asked if asked in names else first
        return gr.Dropdown(choices=choices, value=first), first, models, notice

    def form(
        self,
        served: tuple[str, int],
        rows: dict[str, dict],
        typed: gr.State,
        answer: gr.Markdown,
        moved: gr.Plot,
    ) -> None:
        """Renders the form of a served version, and what happens in it. `rows`: what was typed, by use case."""
        try:
            contract = self._contract(*served)
        except LabError as error:
            gr.Markdown(fault(error))
            return
        name = contract.use_case
        if contract.description:
            gr.Markdown(contract.description)
        fields = form(contract, self._order(served, contract), rows.get(name, {}))
        gr.on(
            [field.input for field in fields],
            lambda rows, *values: rows | {name: row(contract, values)},
            [typed, *fields],
            typed,
            trigger_mode="always_last",
            **HIDDEN,
        )
        gr.Button("Predict", variant="primary").click(
            lambda *values: self.predict(contract, row(contract, values)),
            fields,
            [answer, moved],
            api_visibility="private",
        )

    def predict(self, contract: Contract, values: dict[str, Any]) -> tuple:
        """The answer as text and the SHAP picture; a refusal names every field and its rule."""
        nothing = gr.Plot(visible=False)
        try:
            reply = self._client.predict(contract.use_case, [values])
        except ContractError as error:
            return refusal(contract, error), nothing
        except LabError as error:
            return fault(error), nothing
        try:
            explanation = self._client.explain(contract.use_case, values)
        except LabError as error:
            return f"{said(contract, reply)}\n\nWhat moved it is not known: {error}", nothing
        return said(contract, reply), gr.Plot(picture.waterfall(contract, values, explanation), visible=True)

    def history(self, served: tuple[str, int] | None) -> tuple:
        """The versions of the chosen use case: a sentence, a picture and a table."""
        nothing = gr.Plot(visible=False), gr.Dataframe(visible=False)
        if not served:
            return "**No version to show yet.** The first training that ends registers one.", *nothing
        try:
            contract, versions = self._contract(*served), self._client.versions(served[0])
        except LabError as error:
            return fault(error), *nothing
        found = [_version(version) for version in versions]
        figure = picture.history(found[::-1], contract.metric, contract.greater_is_better)
        rows = [[_cell(version[column.lower()]) for column in COLUMNS] for version in found]
        count = f"{len(found)} versions were" if len(found) != 1 else "one version was"
        about = f"Version {served[1]} of {contract.title} is served; {count} registered. Scores are {contract.metric}."
        return about, gr.Plot(figure, visible=True), gr.Dataframe(rows, visible=True)

    def _order(self, served: tuple[str, int], contract: Contract) -> dict[str, float]:
        if len(contract.features) <= FEW:
            return {}
        try:
            return self._weights(*served)
        except LabError:
            return {}

    # A version's contract never changes, so both are asked for once a version.

    def _fetch_contract(self, use_case: str, version: int) -> Contract:
        return self._client.contract(use_case)

    def _example_moved(self, use_case: str, version: int) -> dict[str, float]:
        """What moves the contract's example: the order of a long form."""
        return self._client.explain(use_case, self._contract(use_case, version).example).values


def choose(use_case: str | None, models: tuple, served: tuple[str, int] | None) -> tuple:
    """The version that the form is made for, and why there is none, if so."""
    version, error = next(((v, e) for name, _, v, e in models if name == use_case), (None, None))
    if version is not None:
        trouble = f"**The newest champion can't be served:** {error}" if error else ""
        return (use_case, version), _notice(trouble)
    # A service that has just come back may not serve yet: the form stays while it loads.
    kept = served if served and served[0] == use_case else None
    return kept, _notice(
        "" if use_case is None else f"**No model is served:** {error}" if error else NO_MODEL
    )


def said(contract: Contract, reply: Predictions) -> str:
    """A prediction with its probabilities and the model that made it, as Markdown."""
    target, value = contract.target, reply.predictions[0]
    unit = f" {target.unit}" if target.unit else ""
    lines = [f"{target.title}\n## {show(target, value)}{unit}"]
    if reply.probabilities:
        shares = reply.probabilities[0]
        if contract.task == "binary":
            threshold = reply.threshold if reply.threshold is not None else contract.threshold
            bound = f"; yes from {threshold:.1%} on" if threshold is not None else ""
            lines.append(f"Probability {shares['true']:.1%}{bound}")
        else:
            ranked = sorted(shares.items(), key=lambda pair: -pair[1])
            lines.append(", ".join(f"{name} {share:.1%}" for name, share in ranked if share >= 0.0005))
    if target.description:
        lines.append(target.description)
    lines.append(
        f"By version {reply.model.version} of {reply.model.name}. Prediction `{reply.prediction_ids[0]}`"
    )
    return "\n\n".join(lines)


def refusal(contract: Contract, error: ContractError) -> str:
    """Every problem of a refused row, by the fields' titles."""
    titles = {f.name: f.title for f in contract.features}
    problems = [f"- {titles.get(p['field'], p['field'])} {p['message']}" for p in error.problems]
    return "\n".join(["**The model refuses this row:**", "", *problems])


def fault(error: LabError) -> str:
    """What a service refuses, or that it is away, as one message that says what to do."""
    if isinstance(error, NotReady | RequestRefused):
        return f"**The service answers:** {error}"
    text = str(error)
    return (
        f"**A service is away:** {text[0].upper()}{text[1:]}. Start the lab (`make demo`, or `docker compose up`); "
        "this page goes on by itself."
    )


def _notice(text: str) -> gr.Markdown:
    return gr.Markdown(text, visible=bool(text))


def _asked(request: gr.Request) -> str | None:
    return request.query_params.get("use_case")


def _chosen(event: gr.SelectData) -> tuple:
    """The chosen use case; the answer for another one goes."""
    return event.value, HINT, gr.Plot(visible=False)


def _title(use_case: str) -> str:
    return use_case.replace("_", " ").capitalize()


def _version(version: Mapping[str, Any]) -> dict[str, Any]:
    """One version of the registry with the names of the table's columns, in lower case."""
    tags = version["tags"]
    return {
        "version": version["version"],
        "aliases": ", ".join(version["aliases"]),
        "candidate": tags.get("lab.candidate", ""),
        "validation": _number(tags.get("lab.validation")),
        "test": _number(tags.get("lab.test")),
        "baseline": _number(tags.get("lab.baseline")),
        "outcome": tags.get("lab.outcome", ""),
        "reason": tags.get("lab.reason", ""),
    }


def _number(text: str | None) -> float | None:
    """A tag as a number; absent, `None` and `nan` are none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if value == value else None


def _cell(value: Any) -> Any:
    return "" if value is None else number(value) if isinstance(value, float) else value
