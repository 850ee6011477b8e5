"""The command `lab`. Each module has the commands of one topic and adds them to the app by its import."""

from mlops_lab.cli import decisions, loop, own_data, reports, scoring, upkeep, versions, watch
from mlops_lab.cli.app import app
from mlops_lab.local.command import Command

__all__ = ["app", "decisions", "loop", "own_data", "reports", "scoring", "upkeep", "versions", "watch"]

# How `lab --help` groups the commands, in the order of their use.
PANELS = {
    "Begin": ["new", "check", "run", "demo"],
    "Look": ["status", "watch", "why", "card", "quarantine", "trace", "replay", "use-cases"],
    "Predict": ["predict", "score"],
    "Train and decide": [
        "train",
        "promote",
        "approve",
        "reject",
        "rollback",
        "trial",
        "monitor",
        "reproduce",
    ],
    "Batches that stopped": ["accept", "retry"],
    "Keep": ["clean", "backup", "restore", "migrate", "sign", "reset", "notify", "data", "keys"],
}

_panel_of = {name: panel for panel, names in PANELS.items() for name in names}
_order = list(_panel_of)
for _one in (*app.registered_commands, *app.registered_groups):
    _one.name = _one.name or getattr(_one.callback, "__name__", "")
    _one.rich_help_panel = _panel_of.get(_one.name)
app.registered_commands.sort(key=lambda one: _order.index(one.name) if one.name in _order else len(_order))
for _app in (app, upkeep.data, upkeep.keys):
    for _command in _app.registered_commands:
        _command.cls = Command
