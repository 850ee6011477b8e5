"""The bounds of the alerts, read from the rules: dashboards draw them and tests compare the runbooks with them."""

import re
from pathlib import Path

import yaml

ALERTS = Path(__file__).parent / "prometheus" / "rules" / "alerts.yml"
OBJECTIVE = "latency objective"
COMPARED = re.compile(r"[<>]=? (\d[\d.]*)")
LATENCY = re.compile(r'le="([\d.]+)"')


def bounds() -> dict[str, float]:
    """Alert → the first number that its expression compares with; `latency objective` → seconds.

    Alerts that compare with no number, or with zero, have no bound. Raises ValueError when the rules about
    slow predictions don't agree on one objective.
    """
    rules = [
        rule
        for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]
    found = {rule["alert"]: COMPARED.search(rule["expr"]) for rule in rules if "alert" in rule}
    (objective,) = {seconds for rule in rules for seconds in LATENCY.findall(rule["expr"])}
    numbers = {alert: float(number[1]) for alert, number in found.items() if number}
    return {alert: number for alert, number in numbers.items() if number} | {OBJECTIVE: float(objective)}


def in_words(bound: float, unit: str) -> str:
    """A bound as texts show it, by Grafana's name of its unit: 0.05 percentunit is "5 %", 7200 s is "2 hours"."""
    match unit:
        case "percentunit":
            return f"{100 * bound:g} %"
        case "s" if bound >= 3600:
            return f"{bound / 3600:g} hours"
        case "s":
            return f"{bound:g} s"
        case _:
            return f"{bound:g}"
