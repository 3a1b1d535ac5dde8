/** One durable write to a registry in each activity. */
import type { Registry } from '../src/ports/registry.ts';

export type WriteActivities = ReturnType<typeof createWriteActivities>;

export const createWriteActivities = (registry: Pick<Registry, 'recordAudit'>) => ({
  write: (index: number): Promise<void> =>
    registry.recordAudit({
      ...{ model: 'bench', action: 'bench.write', actor: null, at: new Date().toISOString() },
      body: { index },
    }),
});
