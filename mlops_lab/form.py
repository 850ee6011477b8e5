"""Shared by the Streamlit page and the Gradio page: the order of the fields, the limits, the texts and the colours.

Both pages are made from the same contract. The content is here; each page draws the fields, bars and messages itself.
So nothing here imports a page library or pandas.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlops_lab.client import ExplainReply, InferenceClient, ModelVersion, PredictReply, RequestRefusedError
from mlops_lab.contract import Contract
from mlops_lab.errors import ContractError, LabError
from mlops_lab.features import Category, Feature
from mlops_lab.formatting import DOWN as DOWN
from mlops_lab.formatting import NEUTRAL as NEUTRAL
from mlops_lab.formatting import OUTCOME_COLOURS, bounds, literal, number, score, show
from mlops_lab.formatting import UP as UP
from mlops_lab.metrics import METRICS

# A form with at most this many fields shows all of them.
MAX_UNFOLDED_FIELDS = 16
# A longer form shows its most important fields and folds the rest away.
LEADING_FIELDS = 12
# Values of a category that are sent to the browser. Streamlit offers a look-up for the others; Gradio searches in
# the browser, so it can hold more.
STREAMLIT_OPTIONS, GRADIO_OPTIONS = 2000, 5000
# Fields with a bar of their own in the plot of an explanation. The other fields share one bar.
EXPLAINED_FIELDS = 10

HINT = "Change the example and press Predict. An empty field means that the value is unknown."
PREVIEW = "A preview that follows each change. Nothing of it is logged; Predict logs it and gives it an id."
ROW_REFUSED = "**The model refuses this row:**"
NO_EXPLANATION = "There is no explanation of this prediction:"


@dataclass(frozen=True)
class Contribution:
    """One bar of an explanation: a field with its value, and how far it moved the prediction."""

    label: str
    value: float


def example_weights(client: InferenceClient, contract: Contract) -> dict[str, float]:
    """How far each field moves the prediction of the contract's example.

    Raises `LabError` when the service gives no explanation.
    """
    return client.explain(contract.use_case, contract.example).values


def folded(contract: Contract, weights: Mapping[str, float]) -> tuple[Sequence[Feature], Sequence[Feature]]:
    """The fields that are always shown, most important first, and those that are folded away.

    weights: the importance of each field by name; the sign doesn't matter. Without weights the contract's order stays.
    """
    if len(contract.features) <= MAX_UNFOLDED_FIELDS:
        return contract.features, ()
    ranked = sorted(contract.features, key=lambda feature: -abs(weights.get(feature.name, 0.0)))
    return ranked[:LEADING_FIELDS], ranked[LEADING_FIELDS:]


def folded_label(fields: Sequence[Feature]) -> str:
    """The heading above the fields that are folded away."""
    return f"{len(fields)} more fields"


def label(feature: Feature) -> str:
    """The title of a field with its unit, as text: in Markdown it needs `literal`."""
    return f"{feature.title} ({feature.unit})" if feature.unit else feature.title


def explanation_of(feature: Feature) -> str:
    """The description of a field and its range; empty when it has neither."""
    return " ".join(part for part in (feature.description, bounds(feature)) if part)


def placeholder(feature: Feature) -> str:
    """What an empty field says: that the value is unknown, and the range of the others."""
    unknown, span = "" if feature.required else "unknown", bounds(feature).rstrip(".")
    return f"{unknown} ({span[0].lower()}{span[1:]})" if unknown and span else span or unknown


def takes_any(feature: Feature, options: int) -> bool:
    """Whether a person may type a value that the page doesn't offer. The service checks it.

    options: how many values the page offers.
    """
    return isinstance(feature, Category) and (feature.allow_unknown or len(feature.values) > options)


def title_of(use_case: str, title: str = "") -> str:
    """The name of a use case on a page, also while no contract says its title."""
    return title or use_case.replace("_", " ").capitalize()


def outcome_group(outcome: str) -> str:
    """The outcome of a version as the charts of versions colour it: a key of `OUTCOME_COLOURS`."""
    return outcome if outcome in OUTCOME_COLOURS else "not chosen"


def in_words(reason: str) -> str:
    """A reason as Markdown. Only the lab's own commands in it are markup, as code."""
    return re.sub(r"\\`(lab [^`\\]*)\\`", r"`\1`", literal(reason))


def questions(versions: Sequence[ModelVersion]) -> list[str]:
    """What people are asked now, as Markdown: each version that waits, its comparison, until when, and the commands."""
    return [
        f"**Version {version.version} waits for your decision:** {in_words(version.facts.reason)}"
        for version in versions
        if version.facts.outcome == "waiting"
    ]


def probability(contract: Contract, shares: Mapping[str, float], threshold: float | None) -> str:
    """The probability of a yes/no prediction, and from which probability on the answer is yes."""
    threshold = threshold if threshold is not None else contract.threshold
    bound = "" if threshold is None else f"; yes from {threshold:.1%} on"
    return f"Probability {shares['true']:.1%}{bound}"


def rounded(contract: Contract, value: Any, limits: tuple[float, float] | None = None) -> str:
    """A prediction as text: a class by its label, a number as exact as it is certain, without its unit.

    A number is rounded to the second digit of its uncertainty (Guide to the expression of uncertainty in measurement,
    7.2.6): half the width of its interval, or without limits the mean absolute error on test rows. Without either it
    is shown as any other number.
    """
    if (digits := _digits(contract, limits)) is None:
        return show(contract.target, value)
    return f"{round(value, digits):,.{max(0, digits)}f}"


def _digits(contract: Contract, limits: tuple[float, float] | None) -> int | None:
    """Digits after the point up to which a number is certain; negative before it. None when that isn't known."""
    spread = contract.metrics.get("test", {}).get("mae") if limits is None else (limits[1] - limits[0]) / 2
    if contract.task != "regression" or not spread or not math.isfinite(spread):
        return None
    return 1 - math.floor(math.log10(spread))


def certainty(contract: Contract, limits: tuple[float, float] | None, level: float | None) -> str:
    """How far the true value may be away, as Markdown: the prediction interval and the typical error on test rows.

    limits, level: of the reply; None for a model without intervals. Empty when nothing is known.
    """
    said = []
    if limits is not None and level is not None:
        low, high = (rounded(contract, limit, limits) for limit in limits)
        unit = f" {literal(contract.target.unit)}" if contract.target.unit else ""
        said.append(f"In {level:.0%} of such predictions the true value is between {low} and {high}{unit}.")
    if typical := typical_error(contract):
        said.append(f"Typical error: {literal(typical)}.")
    return " ".join(said)


def metric_title(metric: str) -> str:
    """The metric's name in words; the name itself for one that the lab doesn't know."""
    return METRICS[metric].title if metric in METRICS else metric


def about_metric(metric: str) -> str:
    """One sentence on what a value of the metric means, and which direction is better; empty when it isn't known."""
    if metric not in METRICS:
        return ""
    found = METRICS[metric]
    return f"{found.about} {'Higher' if found.greater_is_better else 'Lower'} is better."


def typical_error(contract: Contract) -> str:
    """How far a regression model is off on test rows: `17.7% (56,770 USD)`, the median share and the mean amount.

    Empty without test rows and for classifiers. The share is left out where it says little: from 100 % on, as it is
    where true values are about 0.
    """
    test = contract.metrics.get("test", {})
    share, amount_ = test.get("mdape"), test.get("mae")
    if contract.task != "regression" or amount_ is None:
        return ""
    mean = score("mae", amount_, contract.target.unit)
    return mean if share is None or not share < 1 else f"{score('mdape', share)} ({mean})"


def made_by(reply: PredictReply) -> str:
    """Which version made the prediction, and the id to find it by."""
    return f"By version {reply.model.version} of {literal(reply.model.name)}. Prediction `{reply.prediction_ids[0]}`"


def contributions(
    contract: Contract, row: Mapping[str, Any], explanation: ExplainReply
) -> list[Contribution]:
    """The bars of an explanation, the strongest first; the weakest fields share the last bar."""
    features = {feature.name: feature for feature in contract.features}
    ranked = sorted(explanation.values.items(), key=lambda pair: -abs(pair[1]))
    bars = [
        Contribution(f"{features[name].title} = {show(features[name], row.get(name))}", value)
        for name, value in ranked[:EXPLAINED_FIELDS]
    ]
    if rest := ranked[EXPLAINED_FIELDS:]:
        bars.append(Contribution(f"{len(rest)} other fields", sum(value for _, value in rest)))
    return bars


def explained(contract: Contract, explanation: ExplainReply) -> str:
    """The name of the sum of an explanation's bars, with its unit: the target, or the probability of one class."""
    if contract.task == "regression":
        return label(contract.target)
    named = show(contract.target, explanation.class_ or "true")
    return f"Probability of {named.lower() if contract.task == 'binary' else named}"


def change_of(contract: Contract, explanation: ExplainReply) -> str:
    """The name of an explanation's bars, with their unit."""
    if contract.task == "regression":
        return f"Change of the {_inside(label(contract.target))}"
    return f"Change of the {_inside(explained(contract, explanation))} (percentage points)"


def change(contract: Contract, explanation: ExplainReply, value: float) -> str:
    """The length of one bar, in the unit that `change_of` names: with one digit more than the prediction."""
    if contract.task != "regression":
        size = f"{abs(value) * 100:.1f}"
    elif (digits := _digits(contract, explanation.interval)) is None:
        size = number(abs(value))
    else:
        size = f"{round(abs(value), digits + 1):,.{max(0, digits + 1)}f}"
    return f"{'+' if value > 0 else '−'}{size}" if size.strip("0.,") else size


def from_to(contract: Contract, explanation: ExplainReply) -> str:
    """Where an explanation's bars begin and end."""
    base, end = explanation.base_value, explanation.explained
    if contract.task == "regression":
        unit = f" {contract.target.unit}" if contract.target.unit else ""
        said = [rounded(contract, value, explanation.interval) + unit for value in (base, end)]
    else:
        said = [f"{value:.1%}" for value in (base, end)]
    return f"from {said[0]} for typical rows on average to {said[1]} for this row"


def amount(contract: Contract, value: float, unit: bool = True) -> str:
    """A contribution as text: in the target's unit, or as a share of the probability."""
    if contract.task != "regression":
        return f"{value:.1%}"
    return f"{number(value)} {contract.target.unit or ''}".strip() if unit else number(value)


def problems(error: ContractError, contract: Contract | None = None) -> str:
    """Every problem of a refused row as a Markdown list, by the fields' titles where the contract is given."""
    titles = {feature.name: feature.title for feature in contract.features} if contract else {}
    return "\n".join(
        f"- {literal(titles.get(p['field'], p['field']))} {literal(p['message'])}" for p in error.problems
    )


def row_refused(contract: Contract, error: ContractError) -> str:
    """The message for a row that breaks the contract."""
    return f"{ROW_REFUSED}\n\n{problems(error, contract)}"


def no_model(airflow_url: str | None = None) -> str:
    """The message while no use case has a champion. airflow_url: a link, where the page has one."""
    airflow = f"[Airflow]({airflow_url})" if airflow_url else "Airflow"
    return (
        f"**No model is served yet.** Run a training in {airflow} or with `lab run`. This page shows the model as soon "
        "as it is promoted."
    )


def mlflow_page(server: str, path: str = "experiments") -> str:
    """The address of a page of MLflow for people: of its view for models, since it opens on generative AI by itself."""
    return f"{server.rstrip('/')}/#/{path}?workflowType=machine_learning"


def away(why: str, what: str = "A service is unavailable") -> str:
    """The message while a service doesn't answer."""
    return (
        f"**{what}:** {literal(f'{why[:1].upper()}{why[1:]}')}. Start the lab (`make demo` or `docker compose up`) "
        "and this page updates without a reload."
    )


def fault(error: LabError) -> str:
    """The message for any error of a client: the service refuses the request, or it doesn't answer."""
    return (
        f"**The request was refused:** {literal(error)}"
        if isinstance(error, RequestRefusedError)
        else away(str(error))
    )


def _inside(text: str) -> str:
    """A title inside of a sentence: with a small first letter, unless it begins with an abbreviation."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
