"""The digests that the lab's database recorded at registration: what a version must have before it is served."""

import json
import logging
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from mlops_lab.data.tables import Model
from mlops_lab.errors import LabError, first_line
from mlops_lab.files import write_whole
from mlops_lab.model.registry import Version

logger = logging.getLogger("inference.champions")


class RecordsAwayError(LabError):
    """The database doesn't answer, and this service has not served the version before."""


class Records:
    """Reads the records, and remembers those of the served versions in a file.

    With that file a service that starts while the database is away serves what it served before. This is as safe as
    the database's answer, because the file has only digests that the database confirmed, nothing but the service
    writes it, and the model's files must have that digest.
    """

    def __init__(self, database: Engine, file: Path):
        self._database = database
        self._file = file

    def digest(self, version: Version) -> str | None:
        """The recorded digest of a version; None when the database has no record of it.

        Raises `RecordsAwayError`.
        """
        query = select(Model.digest).where(
            Model.use_case == version.use_case, Model.version == version.version
        )
        try:
            with self._database.connect() as db:
                return db.scalar(query)
        except SQLAlchemyError as error:
            number, digest = self._remembered().get(version.use_case, (0, ""))
            if number == version.version:
                logger.warning(
                    "%s version %d is checked by the digest of its last start; the database does not answer: %s",
                    version.use_case,
                    version.version,
                    first_line(error),
                )
                return digest
            raise RecordsAwayError(
                f"the database with its record does not answer ({first_line(error)}); it is tried again"
            ) from error

    def remember(self, version: Version, digest: str) -> None:
        """Keeps a confirmed digest for a start without the database."""
        known = self._remembered()
        if known.get(version.use_case) == (version.version, digest):
            return
        known[version.use_case] = version.version, digest
        try:
            write_whole(self._file, json.dumps(known), 0o600)
        except OSError as error:
            logger.warning("the digest of a served version can't be kept: %s", first_line(error))

    def _remembered(self) -> dict[str, tuple[int, str]]:
        try:
            found = json.loads(self._file.read_text())
            return {use_case: (int(number), str(digest)) for use_case, (number, digest) in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}
