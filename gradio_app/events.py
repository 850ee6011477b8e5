"""The handlers of the page's events. Each returns the new state of some components."""

from functools import lru_cache
from typing import Any

import gradio as gr

from gradio_app import picture
from gradio_app.form import form, row
from mlops_lab.client import InferenceClient, ModelVersion, PredictReply
from mlops_lab.contract import Contract
from mlops_lab.errors import ContractError, LabError
from mlops_lab.form import (
    HINT,
    NO_EXPLANATION,
    away,
    certainty,
    example_weights,
    fault,
    made_by,
    no_model,
    probability,
    questions,
    rounded,
    row_refused,
    title_of,
)
from mlops_lab.formatting import literal, number, show
from mlops_lab.model.card import card

HIDDEN: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
NO_VERSION = "**No version to show yet.** The first training that ends registers one."
COLUMNS = ["Version", "Aliases", "Candidate", "Validation", "Test", "Baseline", "Outcome", "Reason"]


class Events:
    """The handlers that call the prediction API. The object has no state of a visitor."""

    def __init__(self, client: InferenceClient):
        self._client = client
        # A version's contract never changes, so each is fetched once.
        self._contract = lru_cache(maxsize=50)(lambda use_case, version: client.contract(use_case))
        self._whole = lru_cache(maxsize=50)(lambda use_case, version: client.contract(use_case, full=True))
        self._weights = lru_cache(maxsize=50)(
            lambda *served: example_weights(client, self._contract(*served))
        )

    def probe(self, before: tuple, asked: str | None) -> tuple:
        """The list of use cases, the chosen one, what is served, and a notice when something is wrong.

        While the service doesn't answer, nothing changes; the form keeps the typed values. While it can't read the
        model registry, the use cases that it doesn't name stay in the list.

        before: the service's reply at the last probe. asked: the use case in the page's address.
        """
        try:
            found = self._client.models()
        except LabError as error:
            return gr.skip(), gr.skip(), gr.skip(), _notice(fault(error))
        models = tuple((m.use_case, title_of(m.use_case, m.title), m.version, m.error) for m in found.models)
        if found.unknown:
            named = {name for name, *_ in models}
            models += tuple(
                (name, title, None, found.unknown) for name, title, *_ in before if name not in named
            )
            notice = _notice(away(found.unknown))
        else:
            notice = _notice("" if models else no_model())
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
        moved: gr.HTML,
    ) -> None:
        """Renders the form of a served version and connects its events.

        rows: the typed values, as one row for each use case; `typed` is the state that keeps them.
        """
        try:
            contract = self._contract(*served)
        except LabError as error:
            gr.Markdown(fault(error))
            return
        name = contract.use_case
        if contract.description:
            gr.Markdown(literal(contract.description))
        fields = form(contract, self._importance(served), rows.get(name, {}))
        gr.on(
            # Each kind of field has this event; their common class doesn't declare it.
            [field.input for field in fields],  # pyrefly: ignore[missing-attribute]
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
        """The answer as text and the SHAP plot. A refusal names every field and its rule."""
        nothing = gr.HTML(visible=False)
        try:
            reply = self._client.predict(contract.use_case, [values], interval=True)
        except ContractError as error:
            return row_refused(contract, error), nothing
        except LabError as error:
            return fault(error), nothing
        text = _answer(contract, reply)
        try:
            explanation = self._client.explain(contract.use_case, values)
        except LabError as error:
            return f"{text}\n\n{NO_EXPLANATION} {literal(error)}", nothing
        return text, gr.HTML(picture.waterfall(contract, values, explanation), visible=True)

    def history(self, served: tuple[str, int] | None, before: tuple | None) -> tuple:
        """The versions of the chosen use case: a sentence, the card of the served one, a plot and a table.

        before: what this page shows, as the last element of the earlier result. While it holds, nothing is drawn again.
        """
        nothing = "", gr.HTML(visible=False), gr.Dataframe(visible=False), None
        if not served:
            try:
                unknown = self._client.models().unknown
            except LabError as error:
                return fault(error), *nothing
            return away(unknown) if unknown else NO_VERSION, *nothing
        try:
            contract, versions = self._contract(*served), self._client.versions(served[0])
        except LabError as error:
            return fault(error), *nothing
        metric = literal(contract.metric)
        count = f"{len(versions)} versions were" if len(versions) != 1 else "one version was"
        about = f"Version {served[1]} of {literal(contract.title)} is served; {count} registered. Scores are {metric}."
        about = "\n\n".join([about, *questions(versions)])
        rows = [_cells(version) for version in versions]
        if before == (about, rows):
            return gr.skip(), gr.skip(), gr.skip(), gr.skip(), gr.skip()
        facts = next((v.facts for v in versions if v.version == served[1]), None)
        try:
            told = card(self._whole(*served), served[1], facts)
        except LabError as error:
            told = fault(error)
        figure = picture.history(versions[::-1], contract.metric, contract.greater_is_better)
        return about, told, gr.HTML(figure, visible=True), gr.Dataframe(rows, visible=True), (about, rows)

    def _importance(self, served: tuple[str, int]) -> dict[str, float]:
        """The importance of each field; empty while there is none, then the form has the contract's order."""
        try:
            return self._weights(*served)
        except LabError:
            return {}


def asked(request: gr.Request) -> str | None:
    """The use case in the page's address."""
    return request.query_params.get("use_case")


def choose(event: gr.SelectData) -> tuple:
    """The use case that the person chose. The answer for the earlier one is removed."""
    return event.value, HINT, gr.HTML(visible=False)


def serve(use_case: str | None, models: tuple, served: tuple[str, int] | None) -> tuple:
    """The version that the form is made for, and a message when there is none or a newer one failed."""
    version, error = next(((v, e) for name, _, v, e in models if name == use_case), (None, None))
    if version is not None:
        trouble = f"**The newest champion can't be served:** {literal(error)}" if error else ""
        return (use_case, version), _notice(trouble)
    # A service that has just restarted may serve nothing yet. The form stays while it loads.
    kept = served if served and served[0] == use_case else None
    if use_case is None:
        return kept, _notice("")
    return kept, _notice(f"**No model is served:** {literal(error)}" if error else no_model())


def _answer(contract: Contract, reply: PredictReply) -> str:
    """A prediction with its probabilities and the version that made it, as Markdown."""
    target, value = contract.target, reply.predictions[0]
    unit = f" {target.unit}" if target.unit else ""
    limits = reply.intervals[0] if reply.intervals else None
    lines = [f"{literal(target.title)}\n## {literal(rounded(contract, value, limits) + unit)}"]
    if said := certainty(contract, limits, reply.interval_level):
        lines.append(said)
    shares = reply.probabilities[0] if reply.probabilities else {}
    if contract.task == "binary" and shares:
        lines.append(probability(contract, shares, reply.threshold))
    elif shares:
        ranked = sorted(shares.items(), key=lambda pair: -pair[1])
        named = [f"{show(target, name)} {share:.1%}" for name, share in ranked if share >= 0.0005]
        lines.append(literal(", ".join(named)))
    if target.description:
        lines.append(literal(target.description))
    return "\n\n".join([*lines, made_by(reply)])


def _notice(text: str) -> gr.Markdown:
    return gr.Markdown(text, visible=bool(text))


def _cells(version: ModelVersion) -> list[Any]:
    """One row of the table of versions, in the order of `COLUMNS`."""
    tags = version.facts
    scores = ["" if score is None else number(score) for score in (tags.validation, tags.test, tags.baseline)]
    return [version.version, ", ".join(version.aliases), tags.candidate, *scores, tags.outcome, tags.reason]
