"""The commands about past decisions: why they were taken, and what another policy would have decided."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from mlops_lab.cli.app import AsJson, UseCaseName, app, print_json, print_line, reading_lab
from mlops_lab.errors import LabError


@app.command()
def why(
    use_case: UseCaseName,
    version: Annotated[int | None, typer.Argument(help="a version; default: the newest batch")] = None,
    batch: Annotated[int | None, typer.Option(help="a batch instead, its number in `lab status`")] = None,
    as_json: AsJson = False,
) -> None:
    """Says why a batch led to a training, and why its versions became champion or not.

    Example: lab why housing --batch 3
    """
    from mlops_lab.why import lines, why_batch, why_version

    if version is not None and batch is not None:
        raise LabError("name a version or a batch, not both")
    with reading_lab() as lab:
        definition = lab.use_case(use_case)
        found = (
            why_batch(lab, definition, batch) if version is None else why_version(lab, definition, version)
        )
    if as_json:
        print_json(found)
    else:
        for line in lines(found):
            print_line(line)


@app.command()
def replay(
    use_case: UseCaseName,
    policy: Annotated[
        str, typer.Option(help='what differs from the use case\'s policy, as JSON: {"margin": 0.03}')
    ] = "{}",
    metric: Annotated[str | None, typer.Option(help="default: the use case's own")] = None,
    as_json: AsJson = False,
) -> None:
    """Says what each past promotion would have been by another policy, from the stored scores of its test rows.

    Example: lab replay housing --policy '{"margin": 0.03}'
    """
    from mlops_lab.replay import metric_of, policy_of, replay

    try:
        changes = json.loads(policy)
    except ValueError as error:
        raise LabError(f"the policy isn't JSON ({error})") from None
    if not isinstance(changes, dict):
        raise LabError('the policy must be a JSON object, such as {"margin": 0.03}')
    with reading_lab() as lab:
        found = lab.use_case(use_case)
        rows = replay(lab, found, policy_of(found, changes), metric_of(found, metric))
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    for row in rows:
        against = "" if row.champion is None else f" against {row.champion}"
        would = row.would or "unknown"
        print_line(
            f"{row.sequence}. version {row.challenger}{against}: was {row.was}, would be {would}: {row.reason}"
        )
    changed = sum(row.would not in (None, row.was) for row in rows)
    print_line(
        f"{changed} of {len(rows)} decisions would be others; each is taken against the champion of then"
    )
