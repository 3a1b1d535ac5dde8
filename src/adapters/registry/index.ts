/** The registry: one SQLite file on one host, or a Postgres server for many. Both are opened by several processes at once, and behave the same. */
import type { Registry } from '../../ports/registry.ts';
import { pathOfFileUrl } from '../file-url.ts';
import { createApprovals } from './approvals.ts';
import { createAudit } from './audit.ts';
import { createBatches } from './batches.ts';
import type { Database } from './database.ts';
import { createDatasets } from './datasets.ts';
import { createDefinitions } from './definitions.ts';
import { createDeployments } from './deployments.ts';
import { createErasures } from './erasures.ts';
import { createEvents } from './events.ts';
import { createLookups } from './lookups.ts';
import { migrate } from './migrations.ts';
import { createMonitoring } from './monitoring.ts';
import { createOutbox } from './outbox.ts';
import { createPauses } from './pauses.ts';
import { openPostgres, probePostgres } from './postgres.ts';
import { createRetention } from './retention.ts';
import { createRuns } from './runs.ts';
import { openSqlite } from './sqlite.ts';
import { createVersions } from './versions.ts';

const isPostgres = (url: string): boolean => /^postgres(ql)?:/i.test(url);

const open = (url: string): Promise<Database> =>
  isPostgres(url) ? openPostgres(url) : openSqlite(pathOfFileUrl(url, 'registry'));

/** What `refit doctor` says of it: looks, makes nothing. @throws RegistryError */
export const describeRegistry = async (url: string): Promise<string> =>
  isPostgres(url) ? probePostgres(url) : `SQLite at ${pathOfFileUrl(url, 'registry')}`;

/** Opens, and brings to the newest schema, the registry at `file:/absolute/path` or `postgres://…`. @throws RegistryError, RegistryLocked */
export async function openRegistry(databaseUrl: string): Promise<Registry> {
  const db = await open(databaseUrl);
  try {
    await migrate(db);
  } catch (error) {
    await db.close();
    throw error;
  }
  return {
    ...createDefinitions(db),
    ...createEvents(db),
    ...createDatasets(db),
    ...createErasures(db),
    ...createRetention(db),
    ...createRuns(db),
    ...createVersions(db),
    ...createApprovals(db),
    ...createDeployments(db),
    ...createMonitoring(db),
    ...createBatches(db),
    ...createLookups(db),
    ...createOutbox(db),
    ...createAudit(db),
    ...createPauses(db),
    async ping() {
      await db.read((tx) => tx.get('SELECT version FROM schema_version'));
    },
    close: () => db.close(),
  };
}
