"""`python -m mlops_lab.cli`: the command `lab`."""

from mlops_lab.cli import app

app(prog_name="lab")
