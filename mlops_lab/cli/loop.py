"""The commands that run the loop or one of its steps."""

import time
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from mlops_lab.cli.app import (
    AsJson,
    UseCaseName,
    app,
    coloured,
    lines_beside,
    open_lab,
    print_json,
    print_line,
    read_settings,
    show_faults,
    this_person,
    use_case_names,
    use_case_of,
    use_cases_of,
    working,
)
from mlops_lab.errors import LabError
from mlops_lab.formatting import counted
from mlops_lab.local.command import err, out


@app.command()
def run(
    use_case: UseCaseName,
    batches: Annotated[
        int | None, typer.Option(min=1, help="stop after so many; default: at the end")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The whole loop in this process, batch by batch, without Airflow. JSON is that of `lab status`.

    Example: lab run housing --batches 2
    """
    from mlops_lab.cli.status_table import show
    from mlops_lab.local.embedded import data_api
    from mlops_lab.local.terminal import wrapped
    from mlops_lab.loop import run_loop
    from mlops_lab.status import status

    settings, started = read_settings(), time.monotonic()
    definition = use_case_of(settings, use_case)

    def progress(line: str) -> None:
        wrapped(err if as_json else out, coloured(line), Text(f"{time.monotonic() - started:7.1f}s  ", "dim"))

    with working("starting") as step, data_api(settings, progress) as reachable:
        lab = open_lab(reachable, progress, new=True, step=step)
        run_loop(lab, definition, batches)
    found = status(lab, use_case)
    if as_json:
        print_json(found)
    else:
        show(found, out)
    show_faults(use_cases_of(settings)[1])
    if not found["champion"] and not found["unknown"]:
        raise LabError(f"{use_case} has no champion; the lines above say why")


@app.command()
def train(
    use_case: UseCaseName,
    force: Annotated[
        bool, typer.Option("--force", help="train, also when the policy decides against it")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Trains on the stored rows; without --force only when the use case's retrain policy requires it.

    Example: lab train housing --force
    """
    from mlops_lab.loop import train_now

    with working("starting") as step:
        lab = open_lab(read_settings(), lines_beside(as_json), step=step)
        result = train_now(lab, lab.use_case(use_case), force)
    if as_json:
        print_json(asdict(result))
    else:
        print_line(result.reason)


@app.command()
def monitor(use_case: UseCaseName, as_json: AsJson = False) -> None:
    """Compares recent predictions with the champion's training data, and says whether to train again.

    Example: lab monitor housing --json
    """
    from mlops_lab.monitor import monitor

    lab = open_lab(read_settings())
    result = monitor(lab, lab.use_case(use_case))
    if as_json:
        print_json(result.as_json())
    else:
        report = f"\nreport: run {result.check.run_id}" if result.check.run_id else ""
        live = "".join(f"\nlive: {score}" for score in result.live)
        estimated = f"\nestimated: {result.check.estimate}" if result.check.estimate else ""
        out.print(result.check.reason + estimated + live + report, soft_wrap=True)


@app.command()
def accept(
    use_case: UseCaseName,
    batch: Annotated[int, typer.Argument(help="its number in `lab status`")],
    reason: Annotated[str, typer.Option(help="why; it is recorded")] = "",
    as_json: AsJson = False,
) -> None:
    """Lets a batch go on that its checks held back; the next run of the loop takes it up.

    Example: lab accept housing 4 --reason "the market did change"
    """
    from mlops_lab.steps.attempts import accept

    lab = open_lab(read_settings())
    opened = accept(lab, lab.use_case(use_case), batch, this_person(), reason)
    if as_json:
        print_json({"accepted": opened})
    else:
        out.print(f"{counted(opened, 'batch', 'batches')} accepted; `lab run {use_case}` takes it up")


@app.command()
def retry(
    use_case: UseCaseName,
    batch: Annotated[int | None, typer.Option(help="its number in `lab status`; default: all")] = None,
    as_json: AsJson = False,
) -> None:
    """Opens broken and held batches again, after a mend; the next run of the loop takes them up.

    Example: lab retry housing --batch 4
    """
    from mlops_lab.steps.attempts import retry

    lab = open_lab(read_settings())
    opened = retry(lab, lab.use_case(use_case), batch)
    if as_json:
        print_json({"opened": opened})
    else:
        out.print(f"{counted(opened, 'batch', 'batches')} opened again; `lab run {use_case}` takes them up")


@app.command()
def demo(
    use_case: Annotated[
        str | None, typer.Argument(help="default: LAB_DEFAULT_USE_CASE", autocompletion=use_case_names)
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="stop everything when the loop is over")] = False,
    batches: Annotated[int | None, typer.Option(min=1, help="stop the loop after so many batches")] = None,
    gradio: Annotated[bool, typer.Option("--gradio", help="start the Gradio page too")] = False,
) -> None:
    """Boots Airflow, MLflow, Data API, inference and Streamlit, and runs the loop in them.

    Example: lab demo housing --once
    """
    from mlops_lab.local.demo import run_demo

    settings = read_settings()
    definition = use_case_of(settings, use_case or settings.default_use_case)
    run_demo(settings, definition, once, batches, gradio)
