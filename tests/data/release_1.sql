-- The lab's own tables in RawData as release 1.0 made them, on SQLite.

CREATE TABLE batches (
  id INTEGER NOT NULL,
  use_case VARCHAR(40) NOT NULL,
  batch_number INTEGER,
  digest VARCHAR(64) NOT NULL,
  payload VARCHAR(255) NOT NULL,
  source VARCHAR(255) NOT NULL,
  landed_at DATETIME NOT NULL,
  gap INTEGER NOT NULL,
  state VARCHAR(20) NOT NULL,
  fault TEXT,
  received INTEGER,
  quarantined INTEGER,
  stored INTEGER,
  dropped INTEGER,
  duplicates INTEGER,
  clean INTEGER,
  decision VARCHAR(10),
  reason TEXT,
  mlflow_run VARCHAR(32),
  PRIMARY KEY (id),
  UNIQUE (use_case, digest)
);

CREATE TABLE checks (
  id INTEGER NOT NULL,
  use_case VARCHAR(40) NOT NULL,
  checked_at DATETIME NOT NULL,
  version INTEGER NOT NULL,
  rows INTEGER NOT NULL,
  psi FLOAT,
  feature VARCHAR(64),
  answered INTEGER NOT NULL,
  metric VARCHAR(20) NOT NULL,
  live_score FLOAT,
  test_score FLOAT,
  passed BOOLEAN NOT NULL,
  retrain BOOLEAN NOT NULL,
  reason TEXT NOT NULL,
  batch_id BIGINT,
  mlflow_run VARCHAR(32),
  PRIMARY KEY (id)
);

CREATE TABLE feedback (
  id VARCHAR(32) NOT NULL,
  prediction_id VARCHAR(32) NOT NULL,
  use_case VARCHAR(40) NOT NULL,
  actual JSON NOT NULL,
  group_key JSON,
  received_at DATETIME NOT NULL,
  PRIMARY KEY (id)
);

CREATE TABLE models (
  use_case VARCHAR(40) NOT NULL,
  version INTEGER NOT NULL,
  digest VARCHAR(64) NOT NULL,
  run_id VARCHAR(32) NOT NULL,
  batch_id BIGINT NOT NULL,
  registered_at DATETIME NOT NULL,
  PRIMARY KEY (use_case, version)
);

CREATE TABLE predictions (
  id VARCHAR(32) NOT NULL,
  use_case VARCHAR(40) NOT NULL,
  version INTEGER NOT NULL,
  run_id VARCHAR(32) NOT NULL,
  request_id VARCHAR(64) NOT NULL,
  predicted_at DATETIME NOT NULL,
  "row" JSON NOT NULL,
  prediction JSON NOT NULL,
  probabilities JSON,
  PRIMARY KEY (id)
);

CREATE TABLE promotions (
  use_case VARCHAR(40) NOT NULL,
  sequence INTEGER NOT NULL,
  challenger INTEGER NOT NULL,
  champion INTEGER,
  outcome VARCHAR(12) NOT NULL,
  reason TEXT NOT NULL,
  metric VARCHAR(20),
  challenger_score FLOAT,
  champion_score FLOAT,
  interval_low FLOAT,
  interval_high FLOAT,
  holdout_rows INTEGER,
  holdout_digest VARCHAR(64),
  decided_at DATETIME NOT NULL,
  PRIMARY KEY (use_case, sequence)
);

CREATE INDEX ix_checks_use_case ON checks (use_case);

CREATE INDEX ix_feedback_prediction_id ON feedback (prediction_id);

CREATE INDEX ix_predictions_predicted_at ON predictions (predicted_at);

CREATE INDEX ix_predictions_use_case ON predictions (use_case);
