/** Runs: numbered without a gap, opened together with the fates of the events behind them, closed once. */
import type { Evaluation, GateResult, MetricValue } from '../../contracts/evaluation.ts';
import { type Fate, RUN_OUTCOMES, type RunOutcome, STAGES, TRIGGERS } from '../../contracts/values.ts';
import { canonicalJson } from '../../domain/canonical.ts';
import { runId } from '../../domain/ids.ts';
import { withoutExamples } from '../../domain/rejection.ts';
import type { OpenedRun, OpenRunInput, RunRecord, RunRegistry, TrainingRecord } from '../../ports/registry/runs.ts';
import { cost, overBudget, settleCost, spending } from './budget.ts';
import type { Database, Row, Session, SqlValue } from './database.ts';
import { erasuresListed } from './erasures.ts';
import { type FateOfEvent, findEvents, putFates, type StoredEvent } from './fates.ts';
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
  repeats: textOrNull(row, 'repeats'),
  stage: oneOf(row, 'stage', STAGES),
  outcome: oneOfOrNull(row, 'outcome', RUN_OUTCOMES),
  outcomeReason: textOrNull(row, 'outcome_reason'),
  datasetVersion: intOrNull(row, 'dataset_version'),
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

async function keysBehind(
  db: Session,
  run: string,
  limit: number,
  after?: { rank: number; event: number },
): Promise<string[]> {
  const { rank, event } = after ?? { rank: -1, event: 0 };
  return (
    await db.all(
      `SELECT e.key FROM fates JOIN events e ON e.seq = fates.event
       WHERE fates.run = ? AND ((${RANK}) > ? OR ((${RANK}) = ? AND fates.event > ?)) ORDER BY (${RANK}), fates.event LIMIT ?`,
      ...[run, rank, rank, event, limit],
    )
  ).map((row) => text(row, 'key'));
}

/** Of events that were deleted since, the row itself keeps the first keys. */
async function runRecord(db: Session, row: Row, limit: number): Promise<RunRecord> {
  const run = text(row, 'run');
  const pruned = int(row, 'pruned_events');
  const kept = await keysBehind(db, run, limit);
  const eventKeys = kept.length === 0 && pruned > 0 ? json<readonly string[]>(row, 'event_keys').slice(0, limit) : kept;
  const eventCount = pruned + (await count(db, 'SELECT count(*) AS n FROM fates WHERE run = ?', run));
  return { ...bareRecord(row), eventCount, eventKeys };
}

const WITHOUT_LIMIT = Number.MAX_SAFE_INTEGER;

/** With at most so many keys of its events. */
export async function findRun(db: Session, run: string, keys = SHOWN_KEYS): Promise<RunRecord | undefined> {
  const row = await db.get('SELECT * FROM runs WHERE run = ?', run);
  return row && (await runRecord(db, row, keys));
}

async function runEvents(
  db: Session,
  run: string,
  limit: number,
  after: string | undefined,
): Promise<readonly string[]> {
  if (after === undefined) return keysBehind(db, run, limit);
  const row = await db.get(
    `SELECT ${RANK} AS rank, event FROM fates WHERE run = ? AND event = (SELECT seq FROM events WHERE key = ?)`,
    ...[run, after],
  );
  if (!row) throw new Error(`event ${after} does not stand behind ${run}, so nothing can be read after it`);
  return keysBehind(db, run, limit, { rank: int(row, 'rank'), event: int(row, 'event') });
}

async function existingRun(db: Session, run: string): Promise<RunRecord> {
  const found = await findRun(db, run);
  if (!found) throw new Error(`there is no run ${run}`);
  return found;
}

/** The first event that is still open opened the run; one that is settled already stands behind an earlier one. */
async function settleEvents(
  db: Session,
  input: OpenRunInput,
  run: string,
): Promise<readonly { key: string; digest: string; fate: string }[]> {
  const { model, at } = input;
  const events = [...(await findEvents(db, input.eventKeys)).values()];
  const fates = (fate: Fate, of: readonly StoredEvent[]) =>
    of.map((event) => ({ event, model, fate: { fate, run }, at }));
  let [opener, tried]: [readonly FateOfEvent[], number] = [[], 0];
  for (; opener.length === 0 && tried < events.length; tried += 1)
    opener = await putFates(db, fates('acted_on', events.slice(tried, tried + 1)));
  const others = await putFates(db, fates('coalesced', events.slice(tried)));
  return [...opener, ...others].map(({ event, fate }) => ({ key: event.key, digest: event.digest, fate: fate.fate }));
}

async function openRun(db: Session, input: OpenRunInput): Promise<OpenedRun> {
  const { model, requestKey, trigger, requester, reason, definitionDigest, at } = input;
  const known = await db.get('SELECT run FROM runs WHERE model = ? AND request_key = ?', model, requestKey);
  if (known) return { status: 'opened', run: await existingRun(db, text(known, 'run')) };
  const reserved = cost(input.reservedCpuSeconds ?? 0);
  const overspent = await overBudget(db, input, reserved);
  if (overspent !== null) return { status: 'over_budget', reason: overspent };
  const last = await db.get('SELECT max(number) AS number FROM runs WHERE model = ?', model);
  const number = (last ? (intOrNull(last, 'number') ?? 0) : 0) + 1;
  const run = runId(model, number);
  const eventKeys = [...new Set(input.eventKeys)];
  await db.run(
    `INSERT INTO runs (run, model, number, request_key, trigger, event_keys, requester, reason, definition_digest, stage, started_at,
       reserved_cpu_seconds, repeats) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
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
      input.repeats ?? null,
    ],
  );
  const settled = await settleEvents(db, { ...input, eventKeys }, run);
  const facts = {
    ...{ run, trigger, requester, reason, definition: definitionDigest, events: eventSummary(settled) },
    reservedCpuSeconds: reserved,
    ...(input.repeats ? { repeats: input.repeats } : {}),
  };
  const openedBy = settled.find((event) => event.fate === 'acted_on')?.key ?? null;
  await record(
    db,
    { model, action: 'run.opened', actor: requester, body: { ...facts, requestKey, openedBy }, at },
    { model, type: 'run.started', id: `run.started:${run}`, data: { ...facts, openedBy }, at },
  );
  return { status: 'opened', run: await existingRun(db, run) };
}

type RunChange = Parameters<RunRegistry['updateRun']>[1];

const digestOf = (value: unknown): string => sha256(canonicalJson(value));

/** Column and stored text of what a change names, and how the audit tells it: large values by digest. */
function changedColumns(change: RunChange): readonly { column: string; value: SqlValue; fact: unknown }[] {
  const { stage, datasetVersion, snapshot, onnx, training, evaluation, gates, checks, metric } = change;
  const columns: { column: string; value: SqlValue; fact: unknown }[] = [];
  if (stage !== undefined) columns.push({ column: 'stage', value: stage, fact: stage });
  if (datasetVersion !== undefined)
    columns.push({ column: 'dataset_version', value: datasetVersion, fact: datasetVersion });
  if (snapshot !== undefined) columns.push({ column: 'snapshot', value: snapshot, fact: snapshot });
  if (onnx !== undefined) columns.push({ column: 'onnx', value: onnx, fact: onnx });
  if (training !== undefined)
    columns.push({ column: 'training', value: JSON.stringify(training), fact: digestOf(training) });
  if (evaluation !== undefined)
    columns.push({ column: 'evaluation', value: JSON.stringify(evaluation), fact: digestOf(evaluation) });
  if (gates !== undefined) columns.push({ column: 'gates', value: JSON.stringify(gates), fact: gates });
  if (checks !== undefined) {
    // Without examples, which may name a person: a chain cannot forget.
    const told = checks.map(({ check, column, severity, detail }) => ({ check, column, severity, detail }));
    columns.push({ column: 'checks', value: JSON.stringify(checks), fact: told });
  }
  if (metric !== undefined) columns.push({ column: 'metric', value: JSON.stringify(metric), fact: metric });
  return columns;
}

async function updateRun(db: Session, run: string, change: RunChange, at: string): Promise<void> {
  const { model, outcome } = await existingRun(db, run);
  // A late write of an attempt that outlived its run, such as a zombie's after a cancellation.
  if (outcome !== null) return;
  const stored = await db.get('SELECT * FROM runs WHERE run = ?', run);
  const changed = changedColumns(change).filter(({ column, value }) => stored?.[column] !== value);
  if (changed.length === 0) return;
  const assignments = changed.map(({ column }) => `${column} = ?`).join(', ');
  await db.run(`UPDATE runs SET ${assignments} WHERE run = ?`, ...changed.map(({ value }) => value), run);
  const facts = Object.fromEntries(changed.map(({ column, fact }) => [column, fact]));
  await appendAudit(db, { model, action: 'run.updated', actor: null, body: { run, ...facts }, at });
}

async function finishRun(
  db: Session,
  run: string,
  outcome: RunOutcome,
  reason: string | null,
  at: string,
): Promise<RunRecord> {
  const before = await existingRun(db, run);
  if (before.outcome !== null) return before;
  const { model } = before;
  const { reserved } = before.cpuSeconds;
  const spent = before.cpuSeconds.spent ?? (STAGES.indexOf(before.stage) < STAGES.indexOf('train') ? 0 : reserved);
  await db.run('UPDATE runs SET spent_cpu_seconds = ? WHERE run = ?', spent, run);
  await db.run(
    'UPDATE runs SET outcome = ?, outcome_reason = ?, finished_at = ? WHERE run = ?',
    outcome,
    reason,
    at,
    run,
  );
  const version = await versionOfRun(db, run);
  if (version?.role === 'candidate' && outcome !== 'approved') {
    await setRole(db, model, version.version, outcome === 'superseded' ? 'archived' : 'rejected');
  }
  const facts = {
    run,
    outcome,
    reason: reason === null ? null : withoutExamples(reason),
    stage: before.stage,
    trigger: before.trigger,
    version: version?.version ?? null,
    bundleDigest: version?.bundleDigest ?? null,
    metric: before.metric,
    cpuSeconds: { reserved, spent },
    failedGates: before.gates.filter((gate) => gate.status === 'failed' || gate.status === 'inconclusive'),
  };
  await record(
    db,
    { model, action: 'run.finished', actor: null, body: facts, at },
    { model, type: 'run.finished', id: `run.finished:${run}`, data: facts, at },
  );
  return existingRun(db, run);
}

export function createRuns(db: Database): RunRegistry {
  return {
    openRun: (input) => db.transaction((tx) => openRun(tx, input)),
    run: (run) => db.read((tx) => findRun(tx, run, WITHOUT_LIMIT)),
    runEvents: (run, limit, after) => db.read((tx) => runEvents(tx, run, limit, after)),
    runs: ({ model, limit }) =>
      db.read(async (tx) => {
        const rows =
          model === undefined
            ? await tx.all('SELECT * FROM runs ORDER BY started_at DESC, model, number DESC LIMIT ?', limit)
            : await tx.all('SELECT * FROM runs WHERE model = ? ORDER BY number DESC LIMIT ?', model, limit);
        return Promise.all(rows.map((row) => runRecord(tx, row, SHOWN_KEYS)));
      }),
    openRuns: (model) =>
      db.read(async (tx) => {
        const rows = await tx.all('SELECT * FROM runs WHERE model = ? AND outcome IS NULL ORDER BY number', model);
        return Promise.all(rows.map((row) => runRecord(tx, row, SHOWN_KEYS)));
      }),
    updateRun: (run, change, at) => db.transaction((tx) => updateRun(tx, run, change, at)),
    recordSnapshot: (run, { snapshot, dataset, erasures }, at) =>
      db.transaction(async (tx) => {
        if ((await erasuresListed(tx, dataset)) > erasures) return 'erased';
        await updateRun(tx, run, { stage: 'train', snapshot }, at);
        return 'recorded';
      }),
    finishRun: (run, outcome, reason, at) => db.transaction((tx) => finishRun(tx, run, outcome, reason, at)),
    keepReason: (run, reason) =>
      db.transaction(async (tx) => {
        await tx.run('UPDATE runs SET outcome_reason = ? WHERE run = ? AND outcome IS NULL', reason, run);
      }),
    settleCost: (run, cpuSeconds, at) => db.transaction((tx) => settleCost(tx, run, cpuSeconds, at)),
    spending: (model, since) => db.read((tx) => spending(tx, model, since)),
    runsSince: (model, since) =>
      db.read((tx) => count(tx, 'SELECT count(*) AS n FROM runs WHERE model = ? AND started_at >= ?', model, since)),
  };
}
