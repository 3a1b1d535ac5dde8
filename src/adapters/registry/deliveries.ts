/** Deliveries as others see them: of an event, and those that were no event and lie on the dead-letter topic. */
import type { DeadLetterRecord, DeliveryRecord, Origin } from '../../ports/registry/events.ts';
import type { Row, Session } from './database.ts';
import { int, oneOfOrNull, text, textOrNull } from './rows.ts';

export const DELIVERY_FATES = ['acted_on', 'duplicate', 'refused', 'ignored', 'dead_lettered'] as const;

const origin = (row: Row): Origin => ({
  topic: text(row, 'topic'),
  partition: int(row, 'partition'),
  offset: text(row, 'offset'),
});

const retryOf = (row: Row): Origin | null =>
  row.retry_topic === null
    ? null
    : { topic: text(row, 'retry_topic'), partition: int(row, 'retry_partition'), offset: text(row, 'retry_offset') };

const deliveryRecord = (row: Row): DeliveryRecord => ({
  origin: origin(row),
  fate: oneOfOrNull(row, 'fate', DELIVERY_FATES),
  at: text(row, 'at'),
  publishedAt: textOrNull(row, 'published_at'),
  attempt: int(row, 'attempt'),
  retryOf: retryOf(row),
});

/** Offsets are texts: the longer is the larger. */
const IN_ORDER = 'at, topic, partition, length("offset"), "offset"';

export const deliveriesOf = async (db: Session, event: number): Promise<readonly DeliveryRecord[]> =>
  (await db.all(`SELECT * FROM deliveries WHERE event = ? ORDER BY ${IN_ORDER}`, event)).map(deliveryRecord);

async function deadLetterRecord(db: Session, row: Row): Promise<DeadLetterRecord> {
  const { topic, partition, offset } = origin(row);
  const source = textOrNull(row, 'source');
  return {
    origin: { topic, partition, offset },
    reason: textOrNull(row, 'reason') ?? '',
    detail: textOrNull(row, 'detail') ?? '',
    at: text(row, 'at'),
    publishedAt: textOrNull(row, 'published_at'),
    attempt: int(row, 'attempt'),
    identity: source === null ? null : { source, id: text(row, 'id') },
    retries: (
      await db.all(
        `SELECT * FROM deliveries WHERE retry_topic = ? AND retry_partition = ? AND retry_offset = ? ORDER BY ${IN_ORDER}`,
        ...[topic, partition, offset],
      )
    ).map((one) => ({ origin: origin(one), fate: oneOfOrNull(one, 'fate', DELIVERY_FATES), at: text(one, 'at') })),
  };
}

const NEWEST_FIRST = 'at DESC, topic DESC, partition DESC, length("offset") DESC, "offset" DESC, generation DESC';

/** Of an offset that a topic created anew used again, the newest. */
const findDeadLetter = async (db: Session, { topic, partition, offset }: Origin): Promise<Row | undefined> =>
  db.get(
    `SELECT * FROM deliveries WHERE topic = ? AND partition = ? AND "offset" = ? AND fate = 'dead_lettered'
     ORDER BY generation DESC LIMIT 1`,
    ...[topic, partition, offset],
  );

export async function deadLetter(db: Session, of: Origin): Promise<DeadLetterRecord | undefined> {
  const row = await findDeadLetter(db, of);
  return row && (await deadLetterRecord(db, row));
}

export async function deadLetters(
  db: Session,
  limit: number,
  before: Origin | undefined,
): Promise<readonly DeadLetterRecord[]> {
  const last = before && (await findDeadLetter(db, before));
  if (before && !last) return [];
  const { topic, partition, offset } = before ?? { topic: '', partition: 0, offset: '' };
  const rows = last
    ? await db.all(
        `SELECT * FROM deliveries WHERE fate = 'dead_lettered'
           AND (at, topic, partition, length("offset"), "offset", generation) < (?, ?, ?, ?, ?, ?) ORDER BY ${NEWEST_FIRST} LIMIT ?`,
        ...[text(last, 'at'), topic, partition, offset.length, offset, int(last, 'generation'), limit],
      )
    : await db.all(`SELECT * FROM deliveries WHERE fate = 'dead_lettered' ORDER BY ${NEWEST_FIRST} LIMIT ?`, limit);
  return Promise.all(rows.map((row) => deadLetterRecord(db, row)));
}
