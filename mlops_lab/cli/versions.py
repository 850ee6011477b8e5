"""The commands about versions: trial, promotion, rollback, a person's approval, training again, model card."""

from dataclasses import asdict
from typing import Annotated

import typer

from mlops_lab.cli.app import (
    AsJson,
    UseCaseName,
    app,
    lines_beside,
    open_lab,
    print_json,
    print_line,
    read_settings,
    reading_lab,
    this_person,
)
from mlops_lab.errors import LabError


@app.command()
def trial(
    use_case: UseCaseName,
    version: Annotated[int | None, typer.Argument(help="the challenger; default: say what is tried")] = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="it predicts after the champion's replies")
    ] = False,
    canary: Annotated[float | None, typer.Option(help="the share of requests that it answers: 0.1")] = None,
    end: Annotated[bool, typer.Option("--end", help="end the trial")] = False,
    as_json: AsJson = False,
) -> None:
    """Gives a challenger live traffic beside the champion: as a shadow, or as a canary that answers a share.

    Example: lab trial housing 8 --canary 0.1
    """
    from mlops_lab.steps.trial import begin_trial, end_trial, trial_of

    lab = open_lab(read_settings())
    definition = lab.use_case(use_case)
    follows = "; the service follows within seconds"
    if end and version is None and not shadow and canary is None:
        found, said = None, f"ended: {end_trial(lab, definition)}{follows}"
    elif version is not None and not end and shadow == (canary is None):
        found = begin_trial(lab, definition, version, canary)
        said = f"{found}{follows}"
    elif version is None and not end and not shadow and canary is None:
        found = trial_of(lab, use_case)
        said = str(found or f"{use_case} has no trial")
    else:
        raise LabError("name a version with --shadow or --canary 0.1, or --end alone")
    if as_json:
        print_json({"trial": asdict(found) if found else None})
    else:
        print_line(said)


@app.command()
def promote(
    use_case: UseCaseName,
    version: Annotated[int, typer.Argument(help="the challenger")],
    force: Annotated[bool, typer.Option("--force", help="also when it loses; needs --reason")] = False,
    reason: Annotated[str | None, typer.Option(help="why it is forced, for the record")] = None,
    as_json: AsJson = False,
) -> None:
    """Compares a version with the champion, on the test rows and on live traffic, and promotes it if it wins.

    Example: lab promote housing 8 --force --reason "it was tried"
    """
    from mlops_lab.steps.challenge import Person
    from mlops_lab.steps.promote import promote_by_hand

    why = (reason or "").strip()
    if force != bool(why):
        raise LabError("--force and --reason TEXT belong together: the record says why")
    lab = open_lab(read_settings(), lines_beside(as_json))
    force_by = Person(this_person(), why) if force else None
    outcome = promote_by_hand(lab, lab.use_case(use_case), version, force_by)
    if as_json:
        print_json(asdict(outcome))
    if not outcome.promoted:
        raise LabError(f"version {version} of {use_case} isn't promoted: {outcome.reason}")
    if not as_json:
        print_line(f"version {version} is the champion of {use_case}: {outcome.reason}")


WaitingVersion = Annotated[int, typer.Argument(help="the version that waits, in `lab status`")]
Why = Annotated[str, typer.Option(help="why; it is recorded")]


@app.command()
def approve(use_case: UseCaseName, version: WaitingVersion, reason: Why, as_json: AsJson = False) -> None:
    """Promotes a version about which a person is asked, and waits until it is served.

    Example: lab approve housing 8 --reason "better on new rows"
    """
    from mlops_lab.steps.approve import approve
    from mlops_lab.steps.challenge import Person

    person = Person(this_person(), _given(reason))
    lab = open_lab(read_settings(), lines_beside(as_json))
    outcome = approve(lab, lab.use_case(use_case), version, person)
    if as_json:
        print_json(asdict(outcome))
    if not outcome.promoted:
        raise LabError(f"version {version} of {use_case} isn't promoted: {outcome.reason}")
    if not as_json:
        print_line(f"version {version} is the champion of {use_case}: {outcome.reason}")


@app.command()
def reject(use_case: UseCaseName, version: WaitingVersion, reason: Why, as_json: AsJson = False) -> None:
    """Keeps the champion instead of a version about which a person is asked.

    Example: lab reject housing 8 --reason "too slow"
    """
    from mlops_lab.steps.approve import reject
    from mlops_lab.steps.challenge import Person

    person = Person(this_person(), _given(reason))
    lab = open_lab(read_settings(), lines_beside(as_json))
    outcome = reject(lab, lab.use_case(use_case), version, person)
    if as_json:
        print_json(asdict(outcome))
    else:
        print_line(f"version {version} of {use_case} isn't promoted: {outcome.reason}")


@app.command()
def rollback(
    use_case: UseCaseName,
    to: Annotated[int | None, typer.Option(help="version; default: the previous champion")] = None,
    reason: Annotated[str, typer.Option(help="why; it is recorded")] = "",
    as_json: AsJson = False,
) -> None:
    """Makes an earlier version champion again; the record says who did it.

    Example: lab rollback housing --reason "wrong prices since noon"
    """
    from mlops_lab.steps.challenge import Person
    from mlops_lab.steps.promote import roll_back

    lab = open_lab(read_settings())
    version = roll_back(lab, lab.use_case(use_case), to, Person(this_person(), reason))
    if as_json:
        print_json({"champion": version})
    else:
        print_line(f"version {version} is the champion of {use_case}; the service follows within seconds")


def _given(reason: str) -> str:
    if not reason.strip():
        raise LabError("--reason TEXT is missing: the record says why")
    return reason.strip()


@app.command()
def reproduce(
    use_case: UseCaseName,
    version: Annotated[int, typer.Argument(help="a registered version")],
    as_json: AsJson = False,
) -> None:
    """Trains a version again from the stored rows, registers nothing, and lists what came out differently.

    Example: lab reproduce housing 8
    """
    from mlops_lab.steps.reproduce import reproduce as again

    lab = open_lab(read_settings(), lines_beside(as_json))
    found = again(lab, lab.use_case(use_case), version)
    if as_json:
        print_json(found.as_json())
    else:
        for line in (*found.causes, *found.changes):
            print_line(line)
    if not found.same:
        why = "" if found.causes else ", and its origin has no difference that explains it"
        raise LabError(f"version {version} of {use_case} doesn't come out again{why}")
    if not as_json:
        print_line(f"version {version} of {use_case} comes out again: the same graph, {found.digest}")


@app.command()
def card(
    use_case: UseCaseName,
    version: Annotated[int | None, typer.Argument(help="default: the champion")] = None,
    as_json: AsJson = False,
) -> None:
    """Prints a version's model card: purpose, data, scores with intervals, slices, limits, cost, decision.

    Example: lab card housing 8 > card.md
    """
    from mlops_lab.contract import Contract
    from mlops_lab.model.card import as_json as card_json
    from mlops_lab.model.card import card

    with reading_lab() as lab:
        name = lab.use_case(use_case).name
        found = lab.champion(name) if version is None else lab.registry.version(name, version)
        contract = Contract.load(lab.model_folder(found))
    if as_json:
        print_json(card_json(contract, found.version, found.facts))
    else:
        print(card(contract, found.version, found.facts), end="")
