/** A and G: each record of Kafka against what became of it, as the publisher's log says it must. */
import { type Evidence, type KafkaRecord, type Meant, number, type Row, sha256, text } from './evidence.ts';
import type { Tally } from './report.ts';

interface Delivered {
  readonly record: KafkaRecord;
  readonly meant: Meant;
}

const place = (topic: string, partition: string | number, offset: string): string => `${topic}/${partition}/${offset}`;
const SETTLED = ['acted_on', 'coalesced', 'refused', 'ignored'];

export function checkEvents(evidence: Evidence, tally: Tally): void {
  const delivered: Delivered[] = [];
  for (const topic of ['data', 'labels', 'drift']) {
    for (const record of evidence.records[topic] ?? []) {
      const meant = evidence.meant.get(Number(record.headers['chaos-n']));
      tally.check(
        'A',
        meant !== undefined,
        `record ${place(topic, record.partition, record.offset)} is none that was published`,
      );
      if (meant) delivered.push({ record, meant });
    }
  }
  const arrived = new Set(delivered.map(({ meant }) => meant.n));
  for (const n of evidence.acked)
    tally.check('A', arrived.has(n), `record ${n} was acknowledged, and Kafka does not have it`);
  checkDeliveries(evidence, tally, delivered);
  checkFates(evidence, tally, delivered);
  checkRuns(evidence, tally);
  checkLabels(evidence, tally, delivered);
}

function checkDeliveries(evidence: Evidence, tally: Tally, delivered: readonly Delivered[]): void {
  const rows = new Map<string, Row[]>();
  for (const row of evidence.rows(
    'SELECT d.*, e.key AS event_key FROM deliveries d LEFT JOIN events e ON e.seq = d.event',
  )) {
    const key = place(text(row, 'topic'), number(row, 'partition'), text(row, 'offset'));
    rows.set(key, [...(rows.get(key) ?? []), row]);
  }
  const dead = new Map(
    (evidence.records['dead-letter'] ?? []).map((one) => {
      const { 'refit-topic': topic = '', 'refit-partition': partition = '', 'refit-offset': offset = '' } = one.headers;
      return [place(topic, partition, offset), one];
    }),
  );
  tally.check(
    'A',
    rows.size === delivered.length,
    `${delivered.length} records in Kafka, ${rows.size} deliveries in the registry`,
  );
  // All of an event go by one key to one partition, so the first by offset is the event.
  const first = new Map<string, number>();
  for (const { record, meant } of delivered) {
    const key = place(record.topic, record.partition, record.offset);
    const mine = rows.get(key) ?? [];
    tally.check('A', mine.length === 1, `${key} has ${mine.length} deliveries`);
    const fate = mine[0]?.fate ?? null;
    if (meant.kind === 'malformed') {
      tally.check('A', fate === 'dead_lettered', `${key} is malformed; its fate is ${fate}`);
      const letter = dead.get(key);
      tally.check('A', letter !== undefined, `${key} is malformed and not on the dead-letter topic`);
      const same =
        letter?.value === null ? meant.sha256 === null : letter !== undefined && sha256(letter.value) === meant.sha256;
      if (letter) tally.check('A', same, `the dead letter of ${key} has other bytes`);
      continue;
    }
    const event = meant.event ?? '';
    tally.check(
      'A',
      mine[0]?.event_key === event,
      `${key} stands for event ${mine[0]?.event_key}, published was ${event}`,
    );
    const known = first.get(event);
    if (known === undefined) {
      first.set(event, meant.variant);
      const expected = meant.unknown ? 'ignored' : null;
      tally.check('A', fate === expected, `${key}, the first of ${event}, has fate ${fate}, not ${expected}`);
    } else {
      const expected = known === meant.variant ? 'duplicate' : 'refused';
      tally.check('A', fate === expected, `${key}, again ${event}, has fate ${fate}, not ${expected}`);
    }
  }
}

/** Of an event what its first delivery meant. */
function firstOf(delivered: readonly Delivered[]): ReadonlyMap<string, Meant> {
  const events = new Map<string, Meant>();
  for (const { meant } of delivered)
    if (meant.event !== null && !events.has(meant.event)) events.set(meant.event, meant);
  return events;
}

function checkFates(evidence: Evidence, tally: Tally, delivered: readonly Delivered[]): void {
  const fates = new Map<string, Row[]>();
  const champions = evidence.rows('SELECT model, at FROM champions');
  for (const row of evidence.rows('SELECT f.*, e.key, e.received_at FROM fates f JOIN events e ON e.seq = f.event')) {
    const key = text(row, 'key');
    fates.set(key, [...(fates.get(key) ?? []), row]);
  }
  const events = firstOf(delivered);
  const { models, datasets } = evidence.where;
  for (const [event, meant] of events) {
    const mine = fates.get(event) ?? [];
    const told = mine.map((row) => `${text(row, 'model') || '(none)'}: ${text(row, 'fate')}`).join(', ') || 'no fate';
    tally.check(
      'A',
      mine.length > 0 && mine.every((row) => SETTLED.includes(text(row, 'fate'))),
      `${event} is not settled: ${told}`,
    );
    // A row without a model stands for a dataset's event until it is delivered.
    const byModel = mine.filter((row) => text(row, 'model') !== '');
    if (meant.unknown) {
      tally.check(
        'A',
        mine.length === 1 && mine[0]?.fate === 'ignored',
        `${event} is for ${meant.target}, which nobody applied: ${told}`,
      );
      continue;
    }
    const expected =
      meant.kind === 'data' ? models.filter((_, index) => `d${index % datasets}` === meant.target) : [meant.target];
    const named = byModel.map((row) => text(row, 'model')).toSorted();
    tally.check(
      'A',
      named.join() === [...expected].toSorted().join(),
      `${event} has fates for ${named.join() || 'no model'}, expected ${expected.join()}`,
    );
    for (const row of byModel) {
      const fate = text(row, 'fate');
      const where = `${event} for ${text(row, 'model')}`;
      if (meant.kind === 'labels') tally.check('A', fate === 'acted_on', `${where}: labels have fate ${fate}`);
      // Alerts here name no version: they speak of who served when they came.
      if (meant.verdict === 'confirmed' && fate === 'refused')
        tally.check(
          'A',
          text(row, 'reason').startsWith('it came before version') &&
            champions.some(
              (one) =>
                one.model === row.model &&
                text(one, 'at') > text(row, 'received_at') &&
                text(one, 'at') <= text(row, 'at'),
            ),
          `${where}: confirmed drift about the champion was refused: ${text(row, 'reason')}`,
        );
      if (meant.file === 'good')
        tally.check('A', fate !== 'refused', `${where}: good data was refused: ${text(row, 'reason')}`);
      if (meant.file !== null && meant.file !== 'good')
        tally.check('A', fate === 'refused', `${where}: its file is ${meant.file}, its fate ${fate}`);
      if (meant.file === 'outside')
        tally.check('G', fate === 'refused', `${where}: a file outside of the data folder was taken in`);
      if (fate === 'refused') tally.check('A', text(row, 'reason') !== '', `${where}: refused without a reason`);
    }
  }
  for (const key of fates.keys())
    tally.check('A', events.has(key), `${key} is in the registry, and was never published`);
  const version = new Set(evidence.rows('SELECT event_key FROM dataset_versions').map((row) => text(row, 'event_key')));
  for (const [event, meant] of events) {
    if (meant.kind !== 'data') continue;
    tally.check(
      'A',
      version.has(event) === (meant.file === 'good'),
      `${event} (file ${meant.file}) ${version.has(event) ? 'made' : 'made no'} dataset version`,
    );
  }
}

/** Runs and fates name each other. */
function checkRuns(evidence: Evidence, tally: Tally): void {
  const runs = new Map(evidence.rows('SELECT * FROM runs').map((row) => [text(row, 'run'), row]));
  const opened = new Map<string, string[]>();
  // The audit row names the opener, however many events stand behind the run.
  const openers = new Map(
    evidence.rows("SELECT body FROM audit WHERE action = 'run.opened'").map((row) => {
      const body = JSON.parse(text(row, 'body')) as { readonly run: string; readonly openedBy: string | null };
      return [body.run, body.openedBy];
    }),
  );
  for (const row of evidence.rows(
    "SELECT f.model, f.fate, f.run, e.key, e.target_kind, e.type FROM fates f JOIN events e ON e.seq = f.event WHERE f.fate IN ('acted_on', 'coalesced')",
  )) {
    if (text(row, 'type').includes('labels')) continue;
    const run = runs.get(text(row, 'run'));
    const where = `${text(row, 'key')} for ${text(row, 'model')}`;
    tally.check(
      'A',
      run !== undefined && run.model === row.model,
      `${where} is ${text(row, 'fate')} by run ${text(row, 'run')}, which is none of that model`,
    );
    if (!run || row.fate !== 'acted_on') continue;
    opened.set(text(run, 'run'), [...(opened.get(text(run, 'run')) ?? []), text(row, 'key')]);
    const told = openers.get(text(run, 'run'));
    tally.check(
      'A',
      told === text(row, 'key'),
      `${where} opened ${text(run, 'run')}, whose audit names ${told ?? 'no event'}`,
    );
  }
  for (const [name, run] of runs) {
    const by = opened.get(name) ?? [];
    const keys = JSON.parse(text(run, 'event_keys')) as string[];
    const isByEvent = run.trigger === 'data' || run.trigger === 'drift';
    tally.check(
      'A',
      by.length === (isByEvent ? 1 : Math.min(by.length, 1)),
      `${name} (${text(run, 'trigger')}) was opened by ${by.length} events: ${by.join(', ') || 'none'}`,
    );
    tally.check('A', new Set(keys).size === keys.length, `${name} names an event twice`);
  }
}

function checkLabels(evidence: Evidence, tally: Tally, delivered: readonly Delivered[]): void {
  const expected = new Map<string, { readonly label: number; readonly time: string }>();
  for (const meant of firstOf(delivered).values()) {
    if (meant.kind !== 'labels' || meant.unknown) continue;
    for (const { id, label, time } of meant.labels) {
      const key = `${meant.target}/${id}`;
      const before = expected.get(key);
      if (!before || time >= before.time) expected.set(key, { label, time });
    }
  }
  const stored = new Map(
    evidence
      .rows('SELECT model, id, label, time FROM labels')
      .map((row) => [`${text(row, 'model')}/${text(row, 'id')}`, row]),
  );
  tally.check('A', stored.size === expected.size, `${expected.size} rows have labels, ${stored.size} are stored`);
  for (const [key, { time }] of expected) {
    const row = stored.get(key);
    tally.check(
      'A',
      row !== undefined && Date.parse(text(row, 'time')) === Date.parse(time),
      `the newest label of ${key} (${time}) is stored as ${row ? text(row, 'time') : 'nothing'}`,
    );
  }
}
