/** Monitoring: verdicts of the sweeps, and where the sink of predictions stands. */
import type { MonitoringRegistry, SinkFile, SweepRecord } from '../../ports/registry/monitoring.ts';
import type { Database, Session } from './database.ts';
import { appendAudit, type Facts, publishDrift } from './journal.ts';
import { int, json, text, textOrNull, utc } from './rows.ts';

/** Most features that a drift event may name. */
const MOST_FEATURES = 1_000;

const LOWER_IS_BETTER: readonly string[] = ['log_loss', 'brier', 'rmse', 'mae'];

function lostPerformance({ performance }: SweepRecord): boolean {
  if (!performance) return false;
  const { metric, value, reference } = performance;
  return LOWER_IS_BETTER.includes(metric) ? value > reference : value < reference;
}

function driftData(sweep: SweepRecord): Facts {
  const features = sweep.features.filter((feature) => feature.drifted).slice(0, MOST_FEATURES);
  return {
    model: sweep.model,
    ...(sweep.version === null ? {} : { version: sweep.version }),
    kind: sweep.verdict === 'confirmed' && lostPerformance(sweep) ? 'concept' : 'data',
    window: { start: sweep.windowStart, end: sweep.windowEnd },
    features: features.map(({ name, test, score, pValue, threshold }) => ({ name, test, score, pValue, threshold })),
    verdict: sweep.verdict,
  };
}

async function recordSweep(db: Session, sweep: SweepRecord): Promise<SweepRecord> {
  const known = await db.get(
    'SELECT record FROM sweeps WHERE model = ? AND window_end = ?',
    sweep.model,
    sweep.windowEnd,
  );
  if (known) return json<SweepRecord>(known, 'record');
  const { model, windowStart, windowEnd, version, rows, labelled, verdict, reason, features, performance, at } = sweep;
  await db.run(
    'INSERT INTO sweeps (model, window_end, record) VALUES (?, ?, ?)',
    model,
    windowEnd,
    JSON.stringify(sweep),
  );
  const drifted = features.filter((feature) => feature.drifted).map(({ name, score }) => ({ name, score }));
  const body = { windowStart, windowEnd, version, rows, labelled, verdict, reason, drifted, performance };
  await appendAudit(db, { model, action: 'sweep.recorded', actor: null, body, at });
  if (verdict === 'suspected' || verdict === 'confirmed')
    await publishDrift(db, model, windowEnd, driftData(sweep), at);
  return sweep;
}

const sinkFile = (row: Readonly<Record<string, unknown>>): SinkFile => json<SinkFile>(row, 'file');

async function position(db: Session, topic: string, partition: number): Promise<string> {
  const row = await db.get(
    'SELECT next_offset FROM sink_positions WHERE topic = ? AND partition = ?',
    topic,
    partition,
  );
  return row ? text(row, 'next_offset') : '0';
}

/** Times are compared as texts, so all have one form. */
function instant(time: string): string {
  const normal = utc(time);
  if (normal === undefined) throw new TypeError(`'${time}' is no ISO 8601 time`);
  return normal;
}

async function commitSinkFile(db: Session, file: SinkFile, expected: string): Promise<'committed' | 'conflict'> {
  const { topic, partition, startOffset, nextOffset } = file;
  if ((await position(db, topic, partition)) !== expected) {
    const last = await db.get(
      'SELECT file FROM sink_files WHERE topic = ? AND partition = ? ORDER BY seq DESC LIMIT 1',
      topic,
      partition,
    );
    const again =
      last !== undefined && sinkFile(last).startOffset === startOffset && sinkFile(last).digest === file.digest;
    // The same commit once more, after an answer that was lost.
    return again ? 'committed' : 'conflict';
  }
  await db.run(
    'INSERT INTO sink_positions (topic, partition, next_offset) VALUES (?, ?, ?) ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset',
    ...[topic, partition, nextOffset],
  );
  if (file.rows === 0) return 'committed';
  const row = await db.get(
    'INSERT INTO sink_files (topic, partition, start_offset, file) VALUES (?, ?, ?, ?) RETURNING seq',
    ...[topic, partition, startOffset, JSON.stringify(file)],
  );
  if (!row) throw new Error(`the prediction file at ${topic}/${partition}@${startOffset} was not stored`);
  for (const model of new Set(file.models)) {
    await db.run(
      'INSERT INTO sink_file_models (model, max_time, min_time, file) VALUES (?, ?, ?, ?)',
      ...[model, instant(file.maxTime), instant(file.minTime), int(row, 'seq')],
    );
  }
  return 'committed';
}

export function createMonitoring(db: Database): MonitoringRegistry {
  return {
    recordSweep: (sweep) => db.transaction((tx) => recordSweep(tx, sweep)),
    sweeps: (model, limit) =>
      db.read(async (tx) =>
        (await tx.all('SELECT record FROM sweeps WHERE model = ? ORDER BY window_end DESC LIMIT ?', model, limit)).map(
          (row) => json<SweepRecord>(row, 'record'),
        ),
      ),
    sinkPosition: (topic, partition) => db.read((tx) => position(tx, topic, partition)),
    /** The log of predictions is data, not a decision: the file's digest is its proof, and no chain grows with the traffic. */
    sinkNewest: (topic, partition) =>
      db.read(async (tx) => {
        const row = await tx.get(
          'SELECT max(m.max_time) AS newest FROM sink_file_models m JOIN sink_files f ON f.seq = m.file WHERE f.topic = ? AND f.partition = ?',
          topic,
          partition,
        );
        return row ? textOrNull(row, 'newest') : null;
      }),
    commitSinkFile: (file, expected = file.startOffset) => db.transaction((tx) => commitSinkFile(tx, file, expected)),
    sinkFiles: (model, start, end) =>
      db.read(async (tx) =>
        (
          await tx.all(
            `SELECT f.file FROM sink_file_models m JOIN sink_files f ON f.seq = m.file
             WHERE m.model = ? AND m.max_time >= ? AND m.min_time < ? ORDER BY f.seq`,
            ...[model, instant(start), instant(end)],
          )
        ).map(sinkFile),
      ),
  };
}
