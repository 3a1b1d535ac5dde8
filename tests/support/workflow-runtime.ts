/** Workers warn of what these tests do on purpose, such as ending a workflow from outside. */
import { DefaultLogger, Runtime } from '@temporalio/worker';

export function quietRuntime(): void {
  const telemetryOptions = { logging: { filter: { core: 'ERROR', other: 'ERROR' } } } as const;
  Runtime.install({ logger: new DefaultLogger('ERROR'), telemetryOptions });
}
