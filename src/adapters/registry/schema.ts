/**
 * The tables, migration by migration. Times are ISO 8601 UTC texts, JSON columns canonical JSON or what JSON.stringify gave.
 * `events.seq` is the order of arrival; every table that hangs on an event uses it instead of the long key.
 * WITHOUT ROWID only where rows are small: with large ones each insertion moves them about.
 */
export const FIRST = `
CREATE TABLE datasets (
  name TEXT PRIMARY KEY, document TEXT NOT NULL, root TEXT NOT NULL, applied_at TEXT NOT NULL
);

CREATE TABLE definitions (
  model TEXT NOT NULL, revision INTEGER NOT NULL, digest TEXT NOT NULL, dataset TEXT NOT NULL, document TEXT NOT NULL,
  project_digest TEXT NOT NULL, git_commit TEXT, actor TEXT NOT NULL, applied_at TEXT NOT NULL,
  PRIMARY KEY (model, revision)
);
CREATE INDEX definitions_digest ON definitions (model, digest);

CREATE TABLE policies (name TEXT PRIMARY KEY, document TEXT NOT NULL, applied_at TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, source TEXT NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL,
  subject TEXT, time TEXT, digest TEXT NOT NULL, body TEXT NOT NULL, target_kind TEXT NOT NULL, target_name TEXT NOT NULL,
  received_at TEXT NOT NULL, settled INTEGER NOT NULL DEFAULT 0, subscribed INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX events_id ON events (id);
CREATE INDEX events_target ON events (target_name, seq);

-- generation: offsets start again when a topic is deleted and created anew; such a record is another delivery.
CREATE TABLE deliveries (
  topic TEXT NOT NULL, partition INTEGER NOT NULL, offset TEXT NOT NULL, generation INTEGER NOT NULL,
  event INTEGER REFERENCES events (seq), digest TEXT, fate TEXT, reason TEXT, detail TEXT, at TEXT NOT NULL,
  PRIMARY KEY (topic, partition, offset, generation)
) WITHOUT ROWID;
CREATE INDEX deliveries_event ON deliveries (event);
CREATE INDEX deliveries_fate ON deliveries (fate, at) WHERE fate IS NOT NULL;

CREATE TABLE fates (
  event INTEGER NOT NULL REFERENCES events (seq), model TEXT NOT NULL, fate TEXT NOT NULL, run TEXT, reason TEXT,
  waits_for TEXT, at TEXT NOT NULL,
  PRIMARY KEY (event, model)
) WITHOUT ROWID;
CREATE INDEX fates_model ON fates (model, event);
CREATE INDEX fates_open ON fates (model, event) WHERE fate IN ('received', 'held');

CREATE TABLE labels (
  model TEXT NOT NULL, id TEXT NOT NULL, label TEXT NOT NULL, time TEXT NOT NULL, PRIMARY KEY (model, id)
) WITHOUT ROWID;

CREATE TABLE dataset_versions (
  dataset TEXT NOT NULL, version INTEGER NOT NULL, manifest_digest TEXT NOT NULL, manifest TEXT NOT NULL, event_key TEXT NOT NULL,
  new_rows INTEGER NOT NULL, created_at TEXT NOT NULL,
  PRIMARY KEY (dataset, version), UNIQUE (dataset, event_key)
);

CREATE TABLE runs (
  run TEXT PRIMARY KEY, model TEXT NOT NULL, number INTEGER NOT NULL, request_key TEXT NOT NULL, trigger TEXT NOT NULL,
  event_keys TEXT NOT NULL, requester TEXT, reason TEXT, definition_digest TEXT NOT NULL, stage TEXT NOT NULL, outcome TEXT,
  outcome_reason TEXT, snapshot TEXT, onnx TEXT, training TEXT NOT NULL DEFAULT 'null', evaluation TEXT NOT NULL DEFAULT 'null',
  gates TEXT NOT NULL DEFAULT '[]', checks TEXT NOT NULL DEFAULT '[]', metric TEXT NOT NULL DEFAULT 'null', version INTEGER,
  started_at TEXT NOT NULL, finished_at TEXT,
  UNIQUE (model, number), UNIQUE (model, request_key)
);
CREATE INDEX runs_open ON runs (model, number) WHERE outcome IS NULL;
CREATE INDEX runs_started ON runs (model, started_at);

CREATE TABLE versions (
  model TEXT NOT NULL, version INTEGER NOT NULL, run TEXT NOT NULL UNIQUE REFERENCES runs (run), bundle_digest TEXT NOT NULL,
  role TEXT NOT NULL, snapshot TEXT NOT NULL, metric TEXT NOT NULL, evaluation TEXT NOT NULL, source TEXT NOT NULL,
  created_at TEXT NOT NULL, promoted_at TEXT,
  PRIMARY KEY (model, version)
);
CREATE UNIQUE INDEX versions_champion ON versions (model) WHERE role = 'champion';

CREATE TABLE champions (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, version INTEGER NOT NULL, deployment INTEGER NOT NULL, at TEXT NOT NULL,
  UNIQUE (model, deployment)
);

CREATE TABLE approvals (
  run TEXT PRIMARY KEY REFERENCES runs (run), model TEXT NOT NULL, version INTEGER NOT NULL, bundle_digest TEXT NOT NULL,
  required INTEGER NOT NULL, requested_at TEXT NOT NULL, expires_at TEXT NOT NULL, settled TEXT
) WITHOUT ROWID;

CREATE TABLE decisions (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL REFERENCES runs (run), request_id TEXT NOT NULL, actor TEXT NOT NULL,
  decision TEXT NOT NULL, bundle_digest TEXT NOT NULL, reason TEXT, via TEXT NOT NULL, verdict TEXT NOT NULL, at TEXT NOT NULL,
  UNIQUE (run, request_id)
);

CREATE TABLE deployments (
  model TEXT NOT NULL, deployment INTEGER NOT NULL, request_key TEXT NOT NULL, kind TEXT NOT NULL, run TEXT,
  from_version INTEGER, to_version INTEGER NOT NULL, actor TEXT, reason TEXT, outcome TEXT, outcome_reason TEXT,
  started_at TEXT NOT NULL, finished_at TEXT,
  PRIMARY KEY (model, deployment), UNIQUE (model, request_key),
  FOREIGN KEY (model, to_version) REFERENCES versions (model, version)
);

CREATE TABLE deployment_steps (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, deployment INTEGER NOT NULL, step TEXT NOT NULL, status TEXT NOT NULL,
  detail TEXT NOT NULL, at TEXT NOT NULL,
  UNIQUE (model, deployment, step, status, detail, at),
  FOREIGN KEY (model, deployment) REFERENCES deployments (model, deployment)
);

-- Every plan that ever was; the newest by (deployment, revision) is in force.
CREATE TABLE plans (
  model TEXT NOT NULL, deployment INTEGER NOT NULL, revision INTEGER NOT NULL, plan TEXT NOT NULL, step TEXT NOT NULL,
  detail TEXT NOT NULL, at TEXT NOT NULL,
  PRIMARY KEY (model, deployment, revision),
  FOREIGN KEY (model, deployment) REFERENCES deployments (model, deployment)
);

CREATE TABLE replicas (
  model TEXT NOT NULL, replica TEXT NOT NULL, report TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (model, replica)
);

CREATE TABLE sweeps (
  model TEXT NOT NULL, window_end TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (model, window_end)
);

CREATE TABLE sink_positions (
  topic TEXT NOT NULL, partition INTEGER NOT NULL, next_offset TEXT NOT NULL, PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE sink_files (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, partition INTEGER NOT NULL, start_offset TEXT NOT NULL,
  file TEXT NOT NULL
);
CREATE TABLE sink_file_models (
  model TEXT NOT NULL, max_time TEXT NOT NULL, min_time TEXT NOT NULL, file INTEGER NOT NULL REFERENCES sink_files (seq),
  PRIMARY KEY (model, max_time, file)
) WITHOUT ROWID;

CREATE TABLE outbox (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key TEXT NOT NULL, source TEXT NOT NULL, id TEXT NOT NULL,
  event TEXT NOT NULL, published_at TEXT, UNIQUE (source, id)
);
CREATE INDEX outbox_waiting ON outbox (sequence) WHERE published_at IS NULL;

CREATE TABLE audit (
  model TEXT NOT NULL, sequence INTEGER NOT NULL, at TEXT NOT NULL, action TEXT NOT NULL, actor TEXT, body TEXT NOT NULL,
  previous TEXT NOT NULL, hash TEXT NOT NULL,
  PRIMARY KEY (model, sequence)
);
-- Kept apart from the rows, so that a chain cut off at its end does not go on from the cut.
CREATE TABLE audit_heads (model TEXT PRIMARY KEY, sequence INTEGER NOT NULL, hash TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE pauses (model TEXT PRIMARY KEY, paused_by TEXT NOT NULL, reason TEXT, at TEXT NOT NULL) WITHOUT ROWID;
`;

/**
 * Accounting in full: when a record was published, which attempt it is and of what; the cost of runs; the keys behind a run by index; what
 * retention needs to find what is old. `pruned_events`: how many events of a run were deleted since, so that its count stays true.
 */
export const SECOND = `
ALTER TABLE events ADD COLUMN published_at TEXT;
CREATE INDEX events_settled ON events (received_at, seq) WHERE settled = 1;

ALTER TABLE deliveries ADD COLUMN published_at TEXT;
ALTER TABLE deliveries ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;
ALTER TABLE deliveries ADD COLUMN retry_topic TEXT;
ALTER TABLE deliveries ADD COLUMN retry_partition INTEGER;
ALTER TABLE deliveries ADD COLUMN retry_offset TEXT;
ALTER TABLE deliveries ADD COLUMN source TEXT;
ALTER TABLE deliveries ADD COLUMN id TEXT;
CREATE INDEX deliveries_retry ON deliveries (retry_topic, retry_partition, retry_offset) WHERE retry_topic IS NOT NULL;

CREATE INDEX fates_run ON fates (run, (CASE fate WHEN 'acted_on' THEN 0 ELSE 1 END), event) WHERE run IS NOT NULL;

ALTER TABLE labels ADD COLUMN stored_at TEXT NOT NULL DEFAULT '';
CREATE INDEX labels_stored ON labels (model, stored_at);

ALTER TABLE runs ADD COLUMN reserved_cpu_seconds REAL NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN spent_cpu_seconds REAL;
ALTER TABLE runs ADD COLUMN pruned_events INTEGER NOT NULL DEFAULT 0;

CREATE INDEX outbox_published ON outbox (published_at, sequence) WHERE published_at IS NOT NULL;
`;

/** Corrections of a dataset, repetitions of runs, and what was erased or deleted for good. */
export const THIRD = `
ALTER TABLE dataset_versions ADD COLUMN corrects TEXT NOT NULL DEFAULT 'null';
ALTER TABLE runs ADD COLUMN dataset_version INTEGER;
ALTER TABLE runs ADD COLUMN repeats TEXT;
ALTER TABLE runs ADD COLUMN artifacts_deleted_at TEXT;

-- ids: null once it is done, so that nothing here names the person.
CREATE TABLE erasures (
  dataset TEXT NOT NULL, erasure INTEGER NOT NULL, request_key TEXT NOT NULL, actor TEXT NOT NULL, reason TEXT, ids TEXT, count INTEGER NOT NULL,
  requested_at TEXT NOT NULL, finished_at TEXT, report TEXT NOT NULL DEFAULT 'null',
  PRIMARY KEY (dataset, erasure)
);
CREATE INDEX erasures_open ON erasures (dataset, erasure) WHERE finished_at IS NULL;

-- Sources that held erased rows: the same bytes must not come back.
CREATE TABLE erased_sources (
  dataset TEXT NOT NULL, source_digest TEXT NOT NULL, erasure INTEGER NOT NULL, PRIMARY KEY (dataset, source_digest)
) WITHOUT ROWID;

-- Artifacts that were deleted for good, why, and what took their place.
CREATE TABLE deleted_artifacts (digest TEXT PRIMARY KEY, replacement TEXT, reason TEXT NOT NULL, at TEXT NOT NULL) WITHOUT ROWID;
`;

/** Keyed stores of joins: which are wanted since when, and one for each version of the joined dataset. */
export const FOURTH = `
CREATE TABLE lookup_specs (spec TEXT PRIMARY KEY, dataset TEXT NOT NULL, document TEXT NOT NULL, at TEXT NOT NULL);
CREATE INDEX lookup_specs_dataset ON lookup_specs (dataset, spec);
CREATE TABLE lookups (
  spec TEXT NOT NULL REFERENCES lookup_specs (spec), dataset TEXT NOT NULL, dataset_version INTEGER NOT NULL, digest TEXT NOT NULL, rows INTEGER NOT NULL,
  max_time TEXT, at TEXT NOT NULL,
  PRIMARY KEY (spec, dataset_version)
);
`;

/** Batch scoring. `erasures`: how many of the dataset were done when it was asked for. */
export const FIFTH = `
CREATE TABLE batches (
  model TEXT NOT NULL, batch INTEGER NOT NULL, request_key TEXT NOT NULL, version INTEGER NOT NULL, dataset TEXT NOT NULL,
  dataset_version INTEGER NOT NULL, joined TEXT NOT NULL, actor TEXT NOT NULL, requested_at TEXT NOT NULL, erasures INTEGER NOT NULL,
  finished_at TEXT, rows INTEGER, output TEXT, failure TEXT,
  PRIMARY KEY (model, batch), UNIQUE (model, request_key)
);
CREATE INDEX batches_open ON batches (model, batch) WHERE finished_at IS NULL;
CREATE INDEX batches_dataset ON batches (dataset) WHERE output IS NOT NULL;
`;

/**
 * One artifact may be deleted for several reasons, by several datasets, and come back in between. `listed`: the erasure has seen which runs have a
 * snapshot, so that one which is recorded later must not hold what was read before.
 */
export const SIXTH = `
CREATE TABLE deleted_for (
  digest TEXT NOT NULL, reason TEXT NOT NULL, replacement TEXT, at TEXT NOT NULL, PRIMARY KEY (digest, reason)
) WITHOUT ROWID;
INSERT INTO deleted_for (digest, reason, replacement, at) SELECT digest, reason, replacement, at FROM deleted_artifacts;
DROP TABLE deleted_artifacts;
ALTER TABLE deleted_for RENAME TO deleted_artifacts;
CREATE INDEX deleted_artifacts_reason ON deleted_artifacts (reason, digest);

ALTER TABLE erasures ADD COLUMN listed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX definitions_dataset ON definitions (dataset, model);
`;
