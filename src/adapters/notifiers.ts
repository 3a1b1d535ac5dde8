/** Notifications to the log: as a warning where the definition asks to be told, else for information. */
import type { Logger } from 'pino';
import type { DefinitionRegistry } from '../ports/registry/definitions.ts';
import type { Notifier } from '../ports/surroundings.ts';

export function createNotifier(logger: Logger, registry: DefinitionRegistry): Notifier {
  return {
    async notify({ model, event, text }) {
      const document = (await registry.model(model))?.document;
      const wanted = document?.notify.some((rule) => rule.events.includes(event) || rule.events.includes('*'));
      logger[wanted ? 'warn' : 'info']({ model, event }, text);
    },
  };
}
