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
  readonly registry: Pick<MonitoringRegistry, 'sinkPosition' | 'commitSinkFile'>;
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
  return async (records: readonly BusRecord[]): Promise<void> => {
    const [first] = records;
    const last = records.at(-1);
    if (!first || !last) return;
    const { topic, partition } = first;
    const position = await registry.sinkPosition(topic, partition);
    const fresh = records.filter((record) => BigInt(record.offset) >= BigInt(position));
    if (fresh.length === 0) return;
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
    const committed = await registry.commitSinkFile({
      topic,
      partition,
      startOffset: position,
      nextOffset: String(BigInt(last.offset) + 1n),
      digest,
      rows: predictions.length,
      models: [...new Set(predictions.map((one) => one.model))],
      minTime: times[0] ?? '',
      maxTime: times.at(-1) ?? '',
    });
    // Another gateway was quicker with the same records; its file counts, ours was never visible.
    if (committed === 'conflict')
      logger.info({ topic, partition, position }, 'another gateway stored these predictions');
  };
}
