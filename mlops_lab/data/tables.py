"""The lab's own tables in RawData: the batch ledger, models, promotions, prediction log, monitoring's findings."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

RAW = MetaData()

# SQLite counts up only a column declared INTEGER.
_ID = BigInteger().with_variant(Integer, "sqlite")

BATCHES = Table(
    "batches",
    RAW,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("use_case", String(40), nullable=False),
    Column("batch_number", Integer, comment="as the Data API says; null when the payload can't be read"),
    Column(
        "digest",
        String(64),
        nullable=False,
        comment="sha256 of the payload's data; the same payload is one batch",
    ),
    Column("payload", String(255), nullable=False, comment="path in the bucket api-artifacts"),
    Column("source", String(255), nullable=False),
    Column("landed_at", DateTime, nullable=False),
    Column("gap", Integer, nullable=False, default=0, comment="batches that went missing before this one"),
    Column("state", String(20), nullable=False, comment="landed, stored, prepared, decided, done, broken"),
    Column("fault", Text, comment="why a broken batch could not be stored"),
    Column("received", Integer),
    Column("quarantined", Integer),
    Column("stored", Integer, comment="rows in <use_case>_raw"),
    Column("dropped", Integer, comment="by cleaning"),
    Column("duplicates", Integer, comment="clean rows that were there before"),
    Column("clean", Integer, comment="new rows in <use_case>_clean"),
    Column("decision", String(10), comment="train or skip"),
    Column("reason", Text),
    Column("mlflow_run", String(32)),
    UniqueConstraint("use_case", "digest"),
)

MODELS = Table(
    "models",
    RAW,
    Column("use_case", String(40), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digest", String(64), nullable=False, comment="sha256 over model.onnx and contract.json"),
    Column("run_id", String(32), nullable=False),
    Column("batch_id", BigInteger, nullable=False, comment="the newest batch in its training data"),
    Column("registered_at", DateTime, nullable=False),
)

PROMOTIONS = Table(
    "promotions",
    RAW,
    Column("use_case", String(40), primary_key=True),
    Column("sequence", Integer, primary_key=True, comment="two promotions at once: the second insert fails"),
    Column("challenger", Integer, nullable=False),
    Column("champion", Integer, comment="the champion that was challenged; null for a first one"),
    Column("outcome", String(12), nullable=False, comment="promoted, refused or rolled back"),
    Column("reason", Text, nullable=False),
    Column("metric", String(20)),
    Column("challenger_score", Float),
    Column("champion_score", Float),
    Column("interval_low", Float, comment="95 % paired bootstrap of the gain"),
    Column("interval_high", Float),
    Column("holdout_rows", Integer),
    Column("holdout_digest", String(64)),
    Column("decided_at", DateTime, nullable=False),
)

PREDICTIONS = Table(
    "predictions",
    RAW,
    Column("id", String(32), primary_key=True),
    Column("use_case", String(40), nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("run_id", String(32), nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("predicted_at", DateTime, nullable=False, index=True),
    Column("row", JSON, nullable=False, comment="the typed row as it was sent"),
    Column("prediction", JSON, nullable=False, comment="a number, or a class"),
    Column("probabilities", JSON),
)

FEEDBACK = Table(
    "feedback",
    RAW,
    Column("id", String(32), primary_key=True),
    Column("prediction_id", String(32), nullable=False, index=True),
    Column("use_case", String(40), nullable=False),
    Column("actual", JSON, nullable=False, comment="the true value of the target"),
    Column("group_key", JSON, comment="without it the row never becomes training data"),
    Column("received_at", DateTime, nullable=False),
)

CHECKS = Table(
    "checks",
    RAW,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("use_case", String(40), nullable=False, index=True),
    Column("checked_at", DateTime, nullable=False),
    Column("version", Integer, nullable=False, comment="the champion that was looked at"),
    Column("rows", Integer, nullable=False, comment="logged predictions that were compared"),
    Column("psi", Float, comment="of the feature that moved most; null below 500 rows"),
    Column("feature", String(64), comment="that feature"),
    Column(
        "answered", Integer, nullable=False, comment="of this version's predictions, those with a true value"
    ),
    Column("metric", String(20), nullable=False),
    Column("live_score", Float, comment="on the answered predictions; null when they are too few"),
    Column("test_score", Float, comment="on the test rows when it was trained"),
    Column("passed", Boolean, nullable=False, comment="a bound was passed"),
    Column("retrain", Boolean, nullable=False, comment="a training was asked for"),
    Column("reason", Text, nullable=False),
    Column("batch_id", BigInteger, comment="the newest batch then"),
    Column("mlflow_run", String(32)),
)
