"""The command that takes past decisions again by another policy."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from mlops_lab.cli.app import AsJson, UseCaseName, app, print_json, reading_lab
from mlops_lab.errors import LabError
from mlops_lab.local.command import out


@app.command()
def replay(
    use_case: UseCaseName,
    policy: Annotated[
        str, typer.Option(help='what differs from the use case\'s policy, as JSON: {"margin": 0.03}')
    ] = "{}",
    metric: Annotated[str | None, typer.Option(help="default: the use case's own")] = None,
    as_json: AsJson = False,
) -> None:
    """Says what each past promotion would have been by another policy, from the stored scores of its test rows."""
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
        out.print(
            f"{row.sequence}. version {row.challenger}{against}: was {row.was}, would be {would}: {row.reason}",
            soft_wrap=True,
            markup=False,
        )
    changed = sum(row.would not in (None, row.was) for row in rows)
    out.print(
        f"{changed} of {len(rows)} decisions would be others; each is taken against the champion of then"
    )
