"""The model registry: versions, aliases and artifacts in MLflow, and the digest that a model is trusted by.

MLflow is imported where it is used, because that takes over a second.
"""

import hashlib
import logging
import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_lab.contract import CONTRACT_FILE, MAX_GRAPH_BYTES, MODEL_FILE
from mlops_lab.errors import ModelError, ServiceError, SignatureError, first_line
from mlops_lab.model import signing
from mlops_lab.model.card import decided, is_ours
from mlops_lab.model.mlflow_store import make_store, store_file
from mlops_lab.model.registered import (
    FileReader,
    Reader,
    Registered,
    ServerReader,
    Version,
    version_of,
)
from mlops_lab.model.tags import NOTE, ModelTags, VersionTags
from mlops_lab.model.trial import Trial

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
ARTIFACT_FOLDER = "model"  # of a candidate's run
ARRIVING = ".arriving-"  # how the folder of a download begins
ABANDONED = 3600.0  # seconds after which such a folder is nobody's
logging.getLogger("alembic").setLevel(logging.ERROR)


class Registry:
    """The lab's view of an MLflow registry; any tracking URI works, a server's or a database's."""

    def __init__(self, tracking_uri: str, username: str | None = None, password: str | None = None):
        if username and password:  # the only way that MLflow's client takes a login
            os.environ |= {"MLFLOW_TRACKING_USERNAME": username, "MLFLOW_TRACKING_PASSWORD": password}
        self.tracking_uri = tracking_uri

    @cached_property
    def client(self) -> "MlflowClient":
        """MLflow's client. Raises `ServiceError` when its SQLite file is half made."""
        from mlflow import MlflowClient

        # After the import, which sets its own level.
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        make_store(self.tracking_uri)
        return MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)

    @cached_property
    def _reader(self) -> Reader:
        file = store_file(self.tracking_uri)
        return ServerReader(self.client) if file is None else FileReader(file)

    def use_cases(self) -> list[str]:
        """Names of the use cases that have a registered model."""
        return self._reader.use_cases()

    def registered(self, use_case: str) -> Registered:
        """Aliases and tags of the model; empty when there is none (yet)."""
        return self._reader.registered(use_case)

    def aliases(self, use_case: str) -> dict[str, int]:
        """The version that each alias points to; empty when there is no model (yet)."""
        return self.registered(use_case).aliases

    def by_alias(self, use_case: str, alias: str) -> Version | None:
        """The version that carries the alias, or None when there is none (yet)."""
        number = self.aliases(use_case).get(alias)
        return None if number is None else self.version(use_case, number)

    def version(self, use_case: str, version: int) -> Version:
        """One version. Raises `ModelError` when it doesn't exist."""
        if (found := self._reader.version(use_case, version)) is None:
            raise ModelError(f"{use_case} has no version {version}; {self._those_of(use_case)}")
        return found

    def has(self, use_case: str, version: int) -> bool:
        """Whether the registry has the version."""
        return self._reader.version(use_case, version) is not None

    def _those_of(self, use_case: str) -> str:
        """The newest versions of a use case, in words."""
        newest = ", ".join(str(found.version) for found in self.versions(use_case)[:10])
        return f"its newest: {newest}" if newest else "it has none yet"

    def versions(self, use_case: str) -> list[Version]:
        """Every version, newest first."""
        return self._reader.versions(use_case)

    def register(
        self, use_case: str, run_id: str, folder: Path, tags: VersionTags, key: str, description: str = ""
    ) -> Version:
        """Stores the folder (graph, contract, MLmodel) with the run and makes it a version.

        Its digest and the signature of it, by the private key, are tags. description: its short model card.
        """
        from mlflow.exceptions import MlflowException

        checksum = digest(folder)
        signature = signing.sign(key, use_case, checksum)
        self.client.log_artifacts(run_id, str(folder), ARTIFACT_FOLDER)
        try:
            self.client.create_registered_model(use_case, tags=ModelTags(use_case=use_case).to_mlflow())
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        if description:
            self._describe_run(run_id, description)
        # What MLflow checks a source against differs between stores: the run's own URI fits every one.
        source = f"{self.client.get_run(run_id).info.artifact_uri}/{ARTIFACT_FOLDER}"
        made = self.client.create_model_version(
            use_case,
            source=source,
            run_id=run_id,
            tags=replace(tags, digest=checksum, signature=signature).to_mlflow(),
            description=description or None,
            await_creation_for=60,
        )
        return version_of(made)

    def set_alias(self, use_case: str, alias: str, version: int) -> None:
        self.client.set_registered_model_alias(use_case, alias, str(version))

    def delete_alias(self, use_case: str, alias: str) -> None:
        self.client.delete_registered_model_alias(use_case, alias)

    def set_trial(self, use_case: str, trial: Trial | None) -> None:
        """Begins a trial, in the place of an earlier one; None ends it."""
        [(key, value)] = ModelTags(trial=str(trial)).to_mlflow().items()
        if trial is None:
            self.client.delete_registered_model_tag(use_case, key)
        else:
            self.client.set_registered_model_tag(use_case, key, value)

    def tag(self, version: Version, tags: VersionTags) -> None:
        """Sets the tags that the record holds; others stay as they are. The description tells an outcome, too."""
        # The description comes first: what a kill leaves out is made up for as long as the tag isn't set.
        if tags.outcome and version.description:
            text = decided(version.description, tags)
            self.client.update_model_version(version.use_case, str(version.version), text)
            self._describe_run(version.run_id, text)
        for key, value in tags.to_mlflow().items():
            self.client.set_model_version_tag(version.use_case, str(version.version), key, value)

    def describe(self, use_case: str, text: str) -> None:
        """Gives the registered model this description. One that a person wrote stays."""
        before = self.client.get_registered_model(use_case).description or ""
        if before != text and is_ours(before, text):
            self.client.update_registered_model(use_case, text)

    def _describe_run(self, run_id: str, text: str) -> None:
        """The version's description for its run, too; a run that somebody deleted needs none."""
        from mlflow.exceptions import MlflowException

        with suppress(MlflowException):
            self.client.set_tag(run_id, NOTE, text)

    def download(
        self, version: Version, folder: Path, recorded: str | None, keys: str, allow_unrecorded: bool = False
    ) -> Path:
        """The version's graph and contract in a subfolder, whole and checked against the signed digest.

        recorded:         the digest in the lab's own database, which must agree; None when it has no record.
        keys:             the public keys that its signature is checked with.
        allow_unrecorded: whether the registry's digest is enough, without signature, for a version without a record.
        Raises `ModelError` when the files are gone, too large, not signed, or differ from the registered ones;
        `ServiceError` when MLflow or its object store doesn't hand them out.
        """
        if recorded is None and not allow_unrecorded:
            raise ModelError(
                f"{version.use_case} version {version.version} has no record in the lab's database, so the lab didn't "
                "register it and it is not loaded; LAB_ALLOW_UNRECORDED=1 allows versions registered by hand"
            )
        if recorded and recorded != version.digest:
            raise ModelError(
                f"{version.use_case} version {version.version}: the registry has digest "
                f"{version.digest[:12] or 'none'}, the lab's database {recorded[:12]}; "
                "one of them was changed, so it is not loaded"
            )
        if recorded is not None:
            _check_signature(version, keys)
        target = folder / f"{version.use_case}-{version.version}"
        if target.is_dir() and digest(target) == version.digest:
            return target
        from mlflow.exceptions import MlflowException

        from mlflow import artifacts

        folder.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        self._check_files(version)
        arriving = Path(tempfile.mkdtemp(dir=folder, prefix=ARRIVING))
        try:
            files = artifacts.download_artifacts(
                run_id=version.run_id,
                artifact_path=ARTIFACT_FOLDER,
                dst_path=str(arriving),
                tracking_uri=self.tracking_uri,
            )
            if (found := digest(Path(files))) != version.digest:
                raise ModelError(
                    f"{version.use_case} version {version.version}: its files have digest {found[:12]}, registered was "
                    f"{version.digest[:12] or 'none'}; they were changed after registration, so it is not loaded"
                )
            shutil.rmtree(target, ignore_errors=True)
            Path(files).rename(target)
        except (MlflowException, OSError) as error:
            raise _cannot_download(version, error) from error
        finally:
            shutil.rmtree(arriving, ignore_errors=True)
        return target

    def _check_files(self, version: Version) -> None:
        """Raises `ModelError` when a file is gone, or they are larger than any that training registers."""
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.list_artifacts(version.run_id, ARTIFACT_FOLDER)
        except (MlflowException, OSError) as error:
            raise _cannot_download(version, error) from error
        sizes = {Path(file.path).name: file.file_size or 0 for file in found}
        if gone := [name for name in (MODEL_FILE, CONTRACT_FILE) if name not in sizes]:
            raise ModelError(
                f"{version.use_case} version {version.version}: {' and '.join(gone)} "
                f"{'is' if len(gone) == 1 else 'are'} no longer in the store of MLflow's artifacts, so it is not loaded"
            )
        if (size := sum(sizes.values())) > 2 * MAX_GRAPH_BYTES:
            raise ModelError(
                f"{version.use_case} version {version.version} has {size / 2**20:.0f} MiB, more than the service has "
                "memory for; train a smaller model"
            )


def _check_signature(version: Version, keys: str) -> None:
    """Raises `SignatureError` unless one of the public keys signed the version's digest."""
    signature = version.facts.signature
    if not signature or not signing.is_signed(keys, version.use_case, version.digest, signature):
        fault = "its signature isn't by the lab's key" if signature else "it has no signature"
        raise SignatureError(
            f"{version.use_case} version {version.version}: {fault}, so it is not loaded; "
            "`lab sign` signs the versions that the lab's database has a record of"
        )


def _remove_abandoned(folder: Path) -> None:
    """Removes the downloads that a killed process left. Younger ones may be another process's."""
    for path in folder.glob(f"{ARRIVING}*"):
        if time.time() - path.stat().st_mtime > ABANDONED:
            shutil.rmtree(path, ignore_errors=True)


def _cannot_download(version: Version, error: Exception) -> ServiceError:
    return ServiceError(
        f"{version.use_case} version {version.version} can't be downloaded: {first_line(error)}"
    )


def digest(folder: Path) -> str:
    """sha256 over the graph and the contract; empty when one is missing."""
    checksum = hashlib.sha256()
    for name in (MODEL_FILE, CONTRACT_FILE):
        if not (path := folder / name).is_file():
            return ""
        with path.open("rb") as file:
            checksum.update(name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return checksum.hexdigest()
