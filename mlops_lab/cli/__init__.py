"""The command `lab`. Each module has the commands of one topic and adds them to the app by its import."""

from mlops_lab.cli import decisions, loop, own_data, reports, scoring, upkeep, versions
from mlops_lab.cli.app import app

__all__ = ["app", "decisions", "loop", "own_data", "reports", "scoring", "upkeep", "versions"]
