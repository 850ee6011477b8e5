"""The command that scores a file."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from mlops_lab.cli.app import AsJson, UseCaseName, app, print_json, reading_lab
from mlops_lab.local.command import err, out
from mlops_lab.local.signals import raise_if_stopped


@app.command()
def score(
    use_case: UseCaseName,
    file: Annotated[Path, typer.Argument(help="rows, as .csv, .csv.gz or .parquet")],
    target: Annotated[
        Path | None,
        typer.Option("--out", help=".csv or .parquet; default: FILE's name with .predictions.csv"),
    ] = None,
    version: Annotated[int | None, typer.Option(help="of the model; default: the champion")] = None,
    interval: Annotated[
        bool, typer.Option("--interval", help="with prediction intervals, where the model has them")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Predicts every row of a file. A command that was stopped goes on where it was when it is called again.

    Example: lab score housing rows.parquet --interval
    """
    from mlops_lab.scoring.scorer import Standing, default_target, score

    with err.status(f"loading the model of {use_case}") as shown:

        def report(standing: Standing) -> None:
            raise_if_stopped()
            shown.update(f"{escape(file.name)}: {standing}")

        def say(line: str) -> None:
            err.print(line, soft_wrap=True, markup=False)

        with reading_lab() as lab:
            name = lab.use_case(use_case).name
            chosen = lab.champion(name) if version is None else lab.registry.version(name, version)
            predictor = lab.predictor(chosen)
        found = score(predictor, chosen, file, target or default_target(file), report, say, interval)
    if as_json:
        print_json(found.as_json())
    else:
        out.print(str(found), soft_wrap=True, markup=False)
