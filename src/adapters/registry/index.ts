/** The registry on SQLite: one file on one host, opened by several processes at once. */
import type { Registry } from '../../ports/registry.ts';
import { pathOfFileUrl } from '../file-url.ts';
import { createApprovals } from './approvals.ts';
import { createAudit } from './audit.ts';
import { Database } from './database.ts';
import { createDatasets } from './datasets.ts';
import { createDefinitions } from './definitions.ts';
import { createDeployments } from './deployments.ts';
import { createEvents } from './events.ts';
import { createMonitoring } from './monitoring.ts';
import { createOutbox } from './outbox.ts';
import { createPauses } from './pauses.ts';
import { createRuns } from './runs.ts';
import { createVersions } from './versions.ts';

/** Opens, and brings to the newest schema, the registry at `file:/absolute/path`. */
export async function openRegistry(databaseUrl: string): Promise<Registry> {
  const db = await Database.open(pathOfFileUrl(databaseUrl, 'registry'));
  return {
    ...createDefinitions(db),
    ...createEvents(db),
    ...createDatasets(db),
    ...createRuns(db),
    ...createVersions(db),
    ...createApprovals(db),
    ...createDeployments(db),
    ...createMonitoring(db),
    ...createOutbox(db),
    ...createAudit(db),
    ...createPauses(db),
    async ping() {
      await db.read(() => db.get('SELECT version FROM schema_version'));
    },
    close: () => db.close(),
  };
}
