/** What keeps the parts on one host, and what to set so that they can run on several. */
import type { Settings } from '../settings/types.ts';

const isLoopback = (address: string): boolean => /^(localhost|127\.[\d.]+|\[::1\]|0\.0\.0\.0)(:|$)/i.test(address);

/** What is of this host only, each with what would be right; empty when nothing is. */
export function ofThisHost(settings: Settings): readonly string[] {
  const { databaseUrl, artifactsUrl, temporal, kafka, dataRoots, s3 } = settings;
  const found: string[] = [];
  if (!/^postgres/.test(databaseUrl.reveal()))
    found.push('the registry is a SQLite file (REFIT_DATABASE_URL: postgres://…)');
  else if (isLoopback(new URL(databaseUrl.reveal()).host))
    found.push('the registry has a loopback address (REFIT_DATABASE_URL)');
  if (!artifactsUrl.startsWith('s3:'))
    found.push(
      'the artifact store is a directory (REFIT_ARTIFACTS_URL: s3://…, or the same network file system on each host)',
    );
  else if (s3.endpoint !== undefined && isLoopback(new URL(s3.endpoint).host))
    found.push('S3 has a loopback address (AWS_ENDPOINT_URL_S3)');
  if (isLoopback(temporal.address)) found.push('Temporal has a loopback address (TEMPORAL_ADDRESS)');
  if (kafka.brokers.some(isLoopback)) found.push('Kafka has a loopback address (KAFKA_BROKERS)');
  if (dataRoots.length === 0)
    found.push('data is read from the project folder only, which every worker must see (REFIT_DATA_ROOTS)');
  else if (dataRoots.some((root) => root.startsWith('/')))
    found.push('data is read from folders, which every worker must see (REFIT_DATA_ROOTS: s3://… or https://…)');
  return found;
}

export function hostsDetail(settings: Settings): string {
  const found = ofThisHost(settings);
  if (found.length === 0) return 'nothing is of this host only: parts may run on several, with the same settings';
  return `one host: ${found.join('; ')}`;
}
