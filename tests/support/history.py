"""The history of a small lab in a real MLflow store: batches, candidates, versions, plots, as the loop records them."""

import hashlib
import struct
import zlib
from pathlib import Path
from typing import Self

from mlops_lab.contract import Contract
from mlops_lab.data.database import connect, create
from mlops_lab.data.ledger import Ledger
from mlops_lab.data.tables import RAW, Model
from mlops_lab.model.registry import CHALLENGER, CHAMPION, Registry, Version
from mlops_lab.model.signing import signing_key
from mlops_lab.model.tags import DRIFT_FILE, BatchTags, CandidateTags, VersionTags
from mlops_lab.model.tracking import Tracking
from mlops_lab.settings import Settings
from tests.support.contracts import ODD_STATE
from tests.support.linear_model import write_model

# The first is the best by validation.
CANDIDATES = ("gradient_boosting", "random_forest", "ridge")
PLOTS = {
    "regression": ("errors.png", "predicted.png"),
    "binary": ("calibration.png", "confusion.png", "curves.png"),
    "multiclass": ("confusion.png",),
}
PSI_BOUND = 0.25


class History:
    """Writes a history into one MLflow store, with the same classes and records as the steps.

    folder: of the models, plots and artifacts.
    """

    def __init__(self, registry: Registry, ledger: Ledger, folder: Path):
        self.registry = registry
        self._ledger = ledger
        self._tracking = Tracking(registry, str(folder / "artifacts"))
        self._folder = folder

    @classmethod
    def at(cls, home: Path) -> Self:
        """The history of a lab whose home has an empty MLflow store."""
        engine = connect(f"sqlite:///{home}/RawData.db")
        create(RAW, engine)
        return cls(Registry(f"sqlite:///{home}/mlflow.db"), Ledger(engine), home)

    def record(self, contract: Contract, batches: int) -> None:
        """The first batch brings a champion, the second a challenger that is refused; the third is skipped."""
        self._tracking.name(contract.use_case, contract.title)
        for number in range(batches):
            run = self._batch(contract, number)
            if number == 2:
                reason = "8% of its groups are new, 610 new rows since the champion, nothing drifted"
                tags = BatchTags(decision="skip", reason=reason, outcome="skipped", outcome_reason=reason)
            else:
                tags = self._training(contract, number, run)
            self._tracking.log(run, tags=tags)
            self._tracking.end(run)

    def landed(self, use_case: str) -> str:
        """A batch of the use case that was validated, and nothing more. Returns its run."""
        tags = BatchTags(batch_id=1, batch_number=0, **_payload(use_case, 0))
        run = self._tracking.start(use_case, "batch-0", tags)
        self._tracking.log(run, metrics={"received": 100, "stored": 100, "quarantined": 0, "gap": 0})
        return run

    def promote(self, contract: Contract) -> Version:
        """One more version of the use case, which becomes the champion."""
        tags = CandidateTags(candidate=CANDIDATES[0], batch_id=1, batch_number=0)
        run = self._tracking.start(contract.use_case, f"{CANDIDATES[0]}-0", tags)
        self._tracking.end(run)
        version = self._register(contract, run, VersionTags(candidate=CANDIDATES[0], metric=contract.metric))
        self.registry.set_alias(contract.use_case, CHAMPION, version.version)
        return version

    def _batch(self, contract: Contract, number: int) -> str:
        """The run of one batch up to its decision."""
        tags = BatchTags(batch_id=number + 1, batch_number=number, **_payload(contract.use_case, number))
        run = self._tracking.start(contract.use_case, f"batch-{number}", tags)
        received, quarantined, dropped = 4055 + 2100 * number, 17 + number, 120
        duplicates = received * (9 if number == 2 else 2) // 10
        metrics = {
            "received": received,
            "quarantined": quarantined,
            "stored": received - quarantined,
            "dropped": dropped,
            "duplicates": duplicates,
            "clean": received - quarantined - dropped - duplicates,
            "gap": 0,
        }
        if number:
            psi = {f"psi.{f.name}": 0.4 / (index + 1.0) / number for index, f in enumerate(contract.features)}
            metrics |= psi | {
                "psi_max": max(psi.values()),
                "psi_bound": PSI_BOUND,
                "target_std_change": -0.12,
                "interval_coverage": 0.87,
                "interval_level": 0.9,
            }
        self._tracking.log(run, metrics=metrics)
        if number:
            feature = contract.features[0]
            bins = {"bins": ["up to 2", "over 2"], "training": [0.5, 0.5], "new": [0.3, 0.7]}
            new_values = {contract.features[-1].name: {ODD_STATE: 0.07}}
            drift = {"version": 1, "rows": 2610, "features": {feature.name: bins}, "new_values": new_values}
            self._tracking.log_json(run, DRIFT_FILE, drift)
        problems = [
            {
                "row": 11 * n,
                "column": contract.features[0].name,
                "rule": "minimum",
                "message": "must be at least 0, not -1",
                "value": "-1",
            }
            for n in range(quarantined)
        ]
        self._tracking.log_json(run, "quarantine.json", problems)
        checks = [
            {"name": "schema", "outcome": "pass", "text": "10 columns", "figures": {}},
            {"name": "nulls", "outcome": "warn", "text": "bed 21% null (9% in training)", "figures": {}},
        ]
        self._tracking.log(run, tags=BatchTags(checks="warn: nulls; pass: 1"))
        self._tracking.log_json(run, "checks.json", checks)
        return run

    def _training(self, contract: Contract, number: int, batch: str) -> BatchTags:
        """The candidates of one batch and the promotion of the best. Returns the batch's tags from it."""
        made = [self._candidate(contract, number, batch, rank) for rank in range(len(CANDIDATES))]
        best, score = made[0], made[0].facts.test
        self.registry.set_alias(contract.use_case, CHALLENGER, best.version)
        if number == 0:
            outcome, reason = "promoted", f"first champion, {contract.metric} {score:.4g} on 2214 test rows"
            self.registry.set_alias(contract.use_case, CHAMPION, best.version)
            if contract.use_case == "housing":
                low, high = score - 0.012, score + 0.028
                sealed = VersionTags(sealed=score + 0.009, sealed_low=low, sealed_high=high, sealed_rows=738)
                self.registry.tag(best, sealed)
        else:
            old = score + 0.0008 if contract.greater_is_better else score - 0.0008
            scores = f"{contract.metric} {score:.4g} against {old:.4g} on the same 2214 test rows"
            outcome, reason = "refused", f"not better: {scores}"
            record = {
                "challenger": best.version,
                "champion": 1,
                "metric": contract.metric,
                "challenger_score": score,
                "champion_score": old,
                "gain": -0.0024,
                "sureness": 0.31,
                "holdout_rows": 2214,
            }
            self._tracking.log_json(batch, "promotion.json", record)
        self.registry.tag(
            best,
            VersionTags(outcome=outcome, reason=reason, holdout_uses=number + 1, holdout_since="2026-11-01"),
        )
        for loser in made[1:]:
            why = f"{CANDIDATES[0]} was better on validation"
            self.registry.tag(loser, VersionTags(outcome="not chosen", reason=why))
        return BatchTags(
            decision="train",
            reason="72% of the batch's groups are new to the champion",
            outcome=outcome,
            outcome_reason=reason,
            version=best.version,
        )

    def _candidate(self, contract: Contract, number: int, batch: str, rank: int) -> Version:
        """One candidate's run and version. rank: its place by validation, from 0."""
        name, metric = CANDIDATES[rank], contract.metric
        tags = CandidateTags(candidate=name, batch_id=number + 1, batch_number=number)
        run = self._tracking.start(contract.use_case, f"{name}-{number}", tags, parent=batch)
        loss = 0.05 * rank + 0.003 * number
        validation = 0.9 - loss if contract.greater_is_better else 0.33 + loss
        facts = VersionTags(
            candidate=name,
            metric=metric,
            validation=validation,
            test=validation + 0.002,
            baseline=0.5 if contract.greater_is_better else 0.81,
            batch_id=number + 1,
            batch_number=number,
        )
        scores = {"validation": facts.validation, "test": facts.test, "baseline.test": facts.baseline}
        self._tracking.log(run, metrics={f"{split}.{metric}": score for split, score in scores.items()})
        for before in range(number + 1):
            source, name_ = _payload(contract.use_case, before), f"{contract.use_case}-batch-{before}"
            self._tracking.log_dataset(
                run, name_, source["digest"], f"bucket/{source['payload']}", "training"
            )
        plots = self._folder / "plots" / run
        plots.mkdir(parents=True)
        for place, file in enumerate((*PLOTS[contract.task], "shap_summary.png")):
            (plots / file).write_bytes(_png(height=270 + 90 * place))
        self._tracking.log_folder(run, plots, "plots")
        self._tracking.end(run)
        return self._register(contract, run, facts)

    def _register(self, contract: Contract, run: str, facts: VersionTags) -> Version:
        model = write_model(contract, self._folder / "models" / run)
        key = signing_key(Settings(home=self._folder))
        version = self.registry.register(contract.use_case, run, model, facts, key)
        record = {"use_case": version.use_case, "version": version.version, "digest": version.digest}
        self._ledger.put_model(Model(**record, run_id=run, batch_id=1))
        return version


def _payload(use_case: str, number: int) -> dict[str, str]:
    """The path at which `land` stores a batch, and its digest."""
    digest = hashlib.sha256(f"{use_case} {number}".encode()).hexdigest()
    return {"payload": f"payloads/{use_case}/{digest}.json", "digest": digest}


def _png(width: int = 480, height: int = 270) -> bytes:
    """A plain coloured picture."""
    line = b"\0" + bytes((40, 110, 180)) * width

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(line * height)) + chunk(b"IEND", b"")
