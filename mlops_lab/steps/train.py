"""Trains one candidate on all clean rows and registers it as a version of the use case's model."""

import resource
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_lab.contract import Contract
from mlops_lab.data.database import now
from mlops_lab.data.tables import Batch, Model
from mlops_lab.errors import LabError, ModelError
from mlops_lab.lab import Lab
from mlops_lab.model import signing
from mlops_lab.model.card import CARD_FILE, card, description
from mlops_lab.model.lineage import Provenance, origin
from mlops_lab.model.predictor import Predictor
from mlops_lab.model.tags import CandidateTags, VersionTags
from mlops_lab.use_case import UseCase

if TYPE_CHECKING:
    from mlops_lab.model.train import Trained
    from mlops_lab.model.training_rows import TrainingRows


def rows_of(lab: Lab, use_case: UseCase, batch_id: int) -> Callable[[], "TrainingRows"]:
    """A function that gives the rows of the batch's trainings; it reads them when it is called the first time.

    So the candidates that one process trains share them.
    """
    # Imported here, because scikit-learn and LightGBM load slowly and only this step needs them.
    from mlops_lab.model.training_rows import training_rows

    def read() -> "TrainingRows":
        until = lab.ledger.newest_read(use_case.name, batch_id)
        found = training_rows(lab.snapshots, use_case, until=until)
        if found.words:
            lab.progress(f"the trainings read {found.words}: {use_case.history}")
        return found

    return cache(read)


def train(
    lab: Lab,
    use_case: UseCase,
    batch_id: int,
    candidate: str,
    again: bool = False,
    rows: Callable[[], "TrainingRows"] | None = None,
) -> int | None:
    """Trains one candidate on all clean rows and registers it; returns its version, or None when it is refused.

    A candidate that an earlier run registered for the batch before it was killed isn't trained again, unless `again`.
    rows: of `rows_of`, which other candidates have, too; None: this candidate's own.
    """
    from mlops_lab.model.search_runs import SearchRuns
    from mlops_lab.model.train import learn
    from mlops_lab.steps.on_dask import rows_on_dask

    batch = lab.ledger.batch(batch_id)
    chosen = next((c for c in use_case.candidates if c.name == candidate), None)
    if chosen is None:
        raise LabError(f"{use_case.name} has no candidate {candidate!r}")
    if not again and (version := _registered(lab, use_case, batch_id, candidate)) is not None:
        lab.progress(f"{candidate}: version {version} is registered already")
        return version
    rows = rows or rows_of(lab, use_case, batch_id)
    tags = CandidateTags(candidate=candidate, batch_id=batch_id, batch_number=batch.batch_number)
    run = lab.tracking.start(use_case.name, f"{candidate}-{batch.batch_number}", tags, batch.mlflow_run)

    def progress(text: str) -> None:
        lab.progress(f"{candidate}: {text}")

    try:
        with ExitStack() as held:
            if chosen.on_dask:
                until = lab.ledger.newest_read(use_case.name, batch_id)
                found = held.enter_context(rows_on_dask(lab, use_case, progress, until=until))
            else:
                found = rows()
            journal = None
            if chosen.tuning:
                journal = SearchRuns(lab.tracking, use_case, chosen, found.origin.digest, run, tags)
                if batch.mlflow_run:
                    journal.adopt(batch.mlflow_run)
            trained = learn(use_case, chosen, found.encoded, progress=progress, journal=journal)
        version = _register(lab, use_case, batch, run, candidate, trained, found.origin)
    except ModelError as error:
        lab.tracking.log(run, tags=replace(tags, outcome="refused", outcome_reason=str(error)))
        lab.tracking.end(run, failed=True)
        lab.progress(f"{candidate}: refused, {error}")
        return None
    except BaseException:
        lab.tracking.end(run, failed=True)
        raise
    lab.tracking.end(run)
    metric = use_case.metric.name
    lab.progress(
        f"{candidate}: version {version}, {metric} {trained.metrics['validation'][metric]:.4g} on validation"
    )
    return version


def _registered(lab: Lab, use_case: UseCase, batch_id: int, candidate: str) -> int | None:
    """The candidate's newest version for the batch, or None."""
    for number in reversed(lab.ledger.models_of_batch(use_case.name, batch_id)):
        if lab.registry.version(use_case.name, number).facts.candidate == candidate:
            return number
    return None


def _register(
    lab: Lab,
    use_case: UseCase,
    batch: Batch,
    run: str,
    candidate: str,
    trained: "Trained",
    read: Provenance,
) -> int:
    """The run's scores, pictures and model; then the signed version with its digest in the registry and in RawData."""
    from mlops_lab.model import export

    cost = {"cpu_seconds": trained.cpu_seconds, "peak_mb": _peak_mb()}
    lineage = origin(run, candidate, read, now(), trained.engine).model_copy(update=cost)
    contract = trained.contract.model_copy(update={"lineage": lineage})
    chosen = use_case.metric.name
    lab.tracking.log(run, params=trained.params, metrics=cost)
    lab.tracking.log_series(run, [{"trial": trial[chosen]} for trial in trained.trials])
    for number in lineage.read_batches:
        source = lab.ledger.batch(number)
        name = f"{use_case.name}-batch-{source.batch_number}"
        url = f"{lab.settings.artifacts}/{source.payload}"
        lab.tracking.log_dataset(run, name, source.digest, url, "training")
    models = lab.tracking.models
    with (
        models.make(run, candidate, use_case.task, trained.params) as logged,
        tempfile.TemporaryDirectory() as folder,
    ):
        models.log(run, logged, _figures(contract), read.digest)
        plots, model = Path(folder) / "plots", Path(folder) / "model"
        plots.mkdir()
        trained.plot(plots)
        lab.tracking.log_folder(run, plots, "plots")
        lab.tracking.log_bytes(run, CARD_FILE, card(contract).encode())
        export.save(trained.model, contract, model)
        Predictor.load(model).check_example()  # what can't be loaded must never be a version
        tags = VersionTags(
            candidate=candidate,
            metric=chosen,
            validation=contract.metrics["validation"][chosen],
            test=contract.test_score,
            baseline=contract.baseline_score,
            batch_id=batch.id,
            batch_number=batch.batch_number,
            left_out=lineage.left_out_words,
        )
        key = signing.signing_key(lab.settings)
        version = lab.registry.register(use_case.name, run, model, tags, key, description(contract))
        models.link(logged, use_case.name, version.version)
    lab.ledger.put_model(
        Model(
            use_case=use_case.name,
            version=version.version,
            digest=version.digest,
            run_id=run,
            batch_id=batch.id,
        )
    )
    return version.version


def _figures(contract: Contract) -> dict[str, dict[str, float]]:
    """The model's scores and those of the baseline, by the name of the rows that they are of."""
    found: dict[str, dict[str, float]] = {}
    for lead, by_split in (("", contract.metrics), ("baseline.", contract.baseline)):
        for split, scores in by_split.items():
            named = {f"{lead}{split}.{name}": value for name, value in scores.items()}
            found.setdefault(f"{contract.use_case}-{split}", {}).update(named)
    if contract.interval and contract.interval.coverage is not None:
        found[f"{contract.use_case}-test"]["test.interval_coverage"] = contract.interval.coverage
    return found


def _peak_mb() -> float:
    """The most memory that this process ever had, in MB. The system counts in KiB, on a Mac in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024) / 1e6
