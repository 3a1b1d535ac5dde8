/** Runs: numbered without a gap, opened together with the fates of the events behind them, closed once. */
import type { Evaluation, GateResult, MetricValue } from '../../contracts/evaluation.ts';
import { RUN_OUTCOMES, type RunOutcome, STAGES, TRIGGERS } from '../../contracts/values.ts';
import { canonicalJson } from '../../domain/canonical.ts';
import { runId } from '../../domain/ids.ts';
import type { OpenedRun, OpenRunInput, RunRecord, RunRegistry, TrainingRecord } from '../../ports/registry.ts';
import { cost, overBudget, settleCost, spending } from './budget.ts';
import type { Database, Row, SqlValue } from './database.ts';
import { findEvent, findFate, putFate } from './fates.ts';
import { appendAudit, eventSummary, record, sha256 } from './journal.ts';
import { count, int, intOrNull, json, oneOf, oneOfOrNull, text, textOrNull } from './rows.ts';
import { setRole, versionOfRun } from './versions.ts';

/** Keys that the row itself keeps, and that a list of runs shows. */
const SHOWN_KEYS = 20;

const bareRecord = (row: Row): Omit<RunRecord, 'eventCount' | 'eventKeys'> => ({
  run: text(row, 'run'),
  model: text(row, 'model'),
  number: int(row, 'number'),
  trigger: oneOf(row, 'trigger', TRIGGERS),
  requester: textOrNull(row, 'requester'),
  reason: textOrNull(row, 'reason'),
  definitionDigest: text(row, 'definition_digest'),
  stage: oneOf(row, 'stage', STAGES),
  outcome: oneOfOrNull(row, 'outcome', RUN_OUTCOMES),
  outcomeReason: textOrNull(row, 'outcome_reason'),
  snapshot: textOrNull(row, 'snapshot'),
  onnx: textOrNull(row, 'onnx'),
  training: json<TrainingRecord | null>(row, 'training'),
  evaluation: json<Evaluation | null>(row, 'evaluation'),
  gates: json<readonly GateResult[]>(row, 'gates'),
  checks: json<RunRecord['checks']>(row, 'checks'),
  metric: json<MetricValue | null>(row, 'metric'),
  version: intOrNull(row, 'version'),
  cpuSeconds: { reserved: int(row, 'reserved_cpu_seconds'), spent: intOrNull(row, 'spent_cpu_seconds') },
  startedAt: text(row, 'started_at'),
  finishedAt: textOrNull(row, 'finished_at'),
});

/** The opener comes first. The text is that of the index. */
const RANK = "CASE fate WHEN 'acted_on' THEN 0 ELSE 1 END";

function keysBehind(db: Database, run: string, limit: number, after?: { rank: number; event: number }): string[] {
  const { rank, event } = after ?? { rank: -1, event: 0 };
  return db
    .all(
      `SELECT e.key FROM fates JOIN events e ON e.seq = fates.event
       WHERE fates.run = ? AND ((${RANK}) > ? OR ((${RANK}) = ? AND fates.event > ?)) ORDER BY (${RANK}), fates.event LIMIT ?`,
      ...[run, rank, rank, event, limit],
    )
    .map((row) => text(row, 'key'));
}

/** Of events that were deleted since, the row itself keeps the first keys. */
function runRecord(db: Database, row: Row, limit: number): RunRecord {
  const run = text(row, 'run');
  const pruned = int(row, 'pruned_events');
  const kept = keysBehind(db, run, limit);
  const eventKeys = kept.length === 0 && pruned > 0 ? json<readonly string[]>(row, 'event_keys').slice(0, limit) : kept;
  const eventCount = pruned + count(db, 'SELECT count(*) AS n FROM fates WHERE run = ?', run);
  return { ...bareRecord(row), eventCount, eventKeys };
}

const withoutLimit = Number.MAX_SAFE_INTEGER;

export function findRun(db: Database, run: string): RunRecord | undefined {
  const row = db.get('SELECT * FROM runs WHERE run = ?', run);
  return row && runRecord(db, row, withoutLimit);
}

function runEvents(db: Database, run: string, limit: number, after: string | undefined): readonly string[] {
  if (after === undefined) return keysBehind(db, run, limit);
  const row = db.get(
    `SELECT ${RANK} AS rank, event FROM fates WHERE run = ? AND event = (SELECT seq FROM events WHERE key = ?)`,
    ...[run, after],
  );
  if (!row) throw new Error(`event ${after} does not stand behind ${run}, so nothing can be read after it`);
  return keysBehind(db, run, limit, { rank: int(row, 'rank'), event: int(row, 'event') });
}

function existingRun(db: Database, run: string): RunRecord {
  const found = findRun(db, run);
  if (!found) throw new Error(`there is no run ${run}`);
  return found;
}

/** The first event that is still open opened the run; one that is settled already stands behind an earlier one. */
function settleEvents(
  db: Database,
  input: OpenRunInput,
  run: string,
): readonly { key: string; digest: string; fate: string }[] {
  const settled: { key: string; digest: string; fate: string }[] = [];
  let opened = false;
  for (const key of input.eventKeys) {
    const event = findEvent(db, key);
    if (!event) continue;
    const fate = opened ? 'coalesced' : 'acted_on';
    if (putFate(db, event, input.model, { fate, run }, input.at)) {
      opened = true;
      settled.push({ key, digest: event.digest, fate });
    } else if (findFate(db, event.seq, input.model)?.run === run) opened = true;
  }
  return settled;
}

function openRun(db: Database, input: OpenRunInput): OpenedRun {
  const { model, requestKey, trigger, requester, reason, definitionDigest, at } = input;
  const known = db.get('SELECT run FROM runs WHERE model = ? AND request_key = ?', model, requestKey);
  if (known) return { status: 'opened', run: existingRun(db, text(known, 'run')) };
  const reserved = cost(input.reservedCpuSeconds ?? 0);
  const overspent = overBudget(db, input, reserved);
  if (overspent !== null) return { status: 'over_budget', reason: overspent };
  const last = db.get('SELECT max(number) AS number FROM runs WHERE model = ?', model);
  const number = (last ? (intOrNull(last, 'number') ?? 0) : 0) + 1;
  const run = runId(model, number);
  const eventKeys = [...new Set(input.eventKeys)];
  db.run(
    `INSERT INTO runs (run, model, number, request_key, trigger, event_keys, requester, reason, definition_digest, stage, started_at,
       reserved_cpu_seconds) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ...[
      run,
      model,
      number,
      requestKey,
      trigger,
      JSON.stringify(eventKeys.slice(0, SHOWN_KEYS)),
      requester,
      reason,
      definitionDigest,
      STAGES[0],
      at,
      reserved,
    ],
  );
  const settled = settleEvents(db, { ...input, eventKeys }, run);
  const facts = {
    ...{ run, trigger, requester, reason, definition: definitionDigest, events: eventSummary(settled) },
    reservedCpuSeconds: reserved,
  };
  const openedBy = settled.find((event) => event.fate === 'acted_on')?.key ?? null;
  record(
    db,
    { model, action: 'run.opened', actor: requester, body: { ...facts, requestKey, openedBy }, at },
    { model, type: 'run.started', id: `run.started:${run}`, data: { ...facts, openedBy }, at },
  );
  return { status: 'opened', run: existingRun(db, run) };
}

type RunChange = Parameters<RunRegistry['updateRun']>[1];

const digestOf = (value: unknown): string => sha256(canonicalJson(value));

/** Column and stored text of what a change names, and how the audit tells it: large values by digest. */
function changedColumns(change: RunChange): readonly { column: string; value: SqlValue; fact: unknown }[] {
  const { stage, snapshot, onnx, training, evaluation, gates, checks, metric } = change;
  const columns: { column: string; value: SqlValue; fact: unknown }[] = [];
  if (stage !== undefined) columns.push({ column: 'stage', value: stage, fact: stage });
  if (snapshot !== undefined) columns.push({ column: 'snapshot', value: snapshot, fact: snapshot });
  if (onnx !== undefined) columns.push({ column: 'onnx', value: onnx, fact: onnx });
  if (training !== undefined)
    columns.push({ column: 'training', value: JSON.stringify(training), fact: digestOf(training) });
  if (evaluation !== undefined)
    columns.push({ column: 'evaluation', value: JSON.stringify(evaluation), fact: digestOf(evaluation) });
  if (gates !== undefined) columns.push({ column: 'gates', value: JSON.stringify(gates), fact: gates });
  if (checks !== undefined) columns.push({ column: 'checks', value: JSON.stringify(checks), fact: checks });
  if (metric !== undefined) columns.push({ column: 'metric', value: JSON.stringify(metric), fact: metric });
  return columns;
}

function updateRun(db: Database, run: string, change: RunChange, at: string): void {
  const { model, outcome } = existingRun(db, run);
  // A late write of an attempt that outlived its run, such as a zombie's after a cancellation.
  if (outcome !== null) return;
  const stored = db.get('SELECT * FROM runs WHERE run = ?', run);
  const changed = changedColumns(change).filter(({ column, value }) => stored?.[column] !== value);
  if (changed.length === 0) return;
  const assignments = changed.map(({ column }) => `${column} = ?`).join(', ');
  db.run(`UPDATE runs SET ${assignments} WHERE run = ?`, ...changed.map(({ value }) => value), run);
  const facts = Object.fromEntries(changed.map(({ column, fact }) => [column, fact]));
  appendAudit(db, { model, action: 'run.updated', actor: null, body: { run, ...facts }, at });
}

function finishRun(db: Database, run: string, outcome: RunOutcome, reason: string | null, at: string): RunRecord {
  const before = existingRun(db, run);
  if (before.outcome !== null) return before;
  const { model } = before;
  const { reserved } = before.cpuSeconds;
  const spent = before.cpuSeconds.spent ?? (STAGES.indexOf(before.stage) < STAGES.indexOf('train') ? 0 : reserved);
  db.run('UPDATE runs SET spent_cpu_seconds = ? WHERE run = ?', spent, run);
  db.run('UPDATE runs SET outcome = ?, outcome_reason = ?, finished_at = ? WHERE run = ?', outcome, reason, at, run);
  const version = versionOfRun(db, run);
  if (version?.role === 'candidate' && outcome !== 'approved') {
    setRole(db, model, version.version, outcome === 'superseded' ? 'archived' : 'rejected');
  }
  const facts = {
    run,
    outcome,
    reason,
    stage: before.stage,
    trigger: before.trigger,
    version: version?.version ?? null,
    bundleDigest: version?.bundleDigest ?? null,
    metric: before.metric,
    cpuSeconds: { reserved, spent },
    failedGates: before.gates.filter((gate) => gate.status === 'failed' || gate.status === 'inconclusive'),
  };
  record(
    db,
    { model, action: 'run.finished', actor: null, body: facts, at },
    { model, type: 'run.finished', id: `run.finished:${run}`, data: facts, at },
  );
  return existingRun(db, run);
}

export function createRuns(db: Database): RunRegistry {
  return {
    openRun: (input) => db.transaction(() => openRun(db, input)),
    run: (run) => db.read(() => findRun(db, run)),
    runEvents: (run, limit, after) => db.read(() => runEvents(db, run, limit, after)),
    runs: ({ model, limit }) =>
      db.read(() =>
        (model === undefined
          ? db.all('SELECT * FROM runs ORDER BY started_at DESC, model, number DESC LIMIT ?', limit)
          : db.all('SELECT * FROM runs WHERE model = ? ORDER BY number DESC LIMIT ?', model, limit)
        ).map((row) => runRecord(db, row, SHOWN_KEYS)),
      ),
    openRuns: (model) =>
      db.read(() =>
        db
          .all('SELECT * FROM runs WHERE model = ? AND outcome IS NULL ORDER BY number', model)
          .map((row) => runRecord(db, row, SHOWN_KEYS)),
      ),
    updateRun: (run, change, at) => db.transaction(() => updateRun(db, run, change, at)),
    finishRun: (run, outcome, reason, at) => db.transaction(() => finishRun(db, run, outcome, reason, at)),
    settleCost: (run, cpuSeconds, at) => db.transaction(() => settleCost(db, run, cpuSeconds, at)),
    spending: (model, since) => db.read(() => spending(db, model, since)),
    runsSince: (model, since) =>
      db.read(() => count(db, 'SELECT count(*) AS n FROM runs WHERE model = ? AND started_at >= ?', model, since)),
  };
}
