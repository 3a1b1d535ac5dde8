/**
 * The sink of predictions: records of one partition become one Parquet file, which becomes visible by a compare-and-set on
 * the partition's next offset in the registry. That position, not the consumer group's, says what is stored.
 */
import type { Logger } from 'pino';
import type { PredictionWriter } from '../adapters/duckdb/prediction-log.ts';
import { type Prediction, predictionSchema } from '../contracts/events.ts';
import type { BusRecord } from '../ports/bus.ts';
import type { MonitoringRegistry } from '../ports/registry/monitoring.ts';
import type { ArtifactStore } from '../ports/store.ts';
import type { Surroundings } from '../ports/surroundings.ts';

export interface SinkOptions {
  readonly registry: Pick<MonitoringRegistry, 'sinkPosition' | 'sinkNewest' | 'commitSinkFile'>;
  readonly store: ArtifactStore;
  readonly surroundings: Pick<Surroundings, 'scratch'>;
  readonly write: PredictionWriter;
  readonly logger: Logger;
}

function parse(record: BusRecord): Prediction | null {
  if (record.value === null) return null;
  try {
    const event: unknown = JSON.parse(record.value.toString('utf8'));
    const data = event !== null && typeof event === 'object' && 'data' in event ? event.data : undefined;
    return predictionSchema.parse(data);
  } catch {
    return null;
  }
}

export function createSink({ registry, store, surroundings, write, logger }: SinkOptions) {
  /** Whether records below the position are not those that are stored: the topic was created anew, and counts from the start again. */
  async function beginsAgain(records: readonly BusRecord[], topic: string, partition: number): Promise<boolean> {
    const stored = await registry.sinkNewest(topic, partition);
    const times = records.flatMap((record) => parse(record)?.time ?? []).map((time) => Date.parse(time));
    return stored !== null && times.some((time) => time > Date.parse(stored));
  }

  /** False where another gateway was quicker: its file counts, ours was never visible, and what lies behind its end is still to be stored. */
  async function storeOnce(records: readonly BusRecord[], first: BusRecord, last: BusRecord): Promise<boolean> {
    const { topic, partition } = first;
    const position = await registry.sinkPosition(topic, partition);
    const below = records.filter((record) => BigInt(record.offset) < BigInt(position));
    // What is stored of this topic lies below the position as a whole. So one newer record there says that all of them are of another topic.
    const isAnew = below.length > 0 && (await beginsAgain(below, topic, partition));
    const fresh = isAnew ? records : records.slice(below.length);
    if (isAnew) {
      logger.warn(
        { topic, partition, position, offset: first.offset },
        'the topic was created anew: offsets begin again',
      );
    }
    if (fresh.length === 0) return true;
    const predictions = fresh.flatMap((record) => parse(record) ?? []);
    if (predictions.length < fresh.length)
      logger.warn(
        { topic, partition, offset: first.offset, skipped: fresh.length - predictions.length },
        'records that are no predictions were left out',
      );
    const times = predictions.map((one) => new Date(one.time).toISOString()).sort();
    const digest =
      predictions.length === 0
        ? ''
        : await surroundings.scratch(async (folder) => (await store.putFile(await write(predictions, folder))).digest);
    const file = {
      topic,
      partition,
      startOffset: isAnew ? first.offset : position,
      nextOffset: String(BigInt(last.offset) + 1n),
      digest,
      rows: predictions.length,
      models: [...new Set(predictions.map((one) => one.model))],
      minTime: times[0] ?? '',
      maxTime: times.at(-1) ?? '',
    };
    return (await registry.commitSinkFile(file, position)) === 'committed';
  }

  return async (records: readonly BusRecord[]): Promise<void> => {
    const [first] = records;
    const last = records.at(-1);
    if (!first || !last) return;
    while (!(await storeOnce(records, first, last)))
      logger.info(
        { topic: first.topic, partition: first.partition },
        'another gateway stored some of these predictions',
      );
  };
}
