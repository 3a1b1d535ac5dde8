/** What the gateway's routes share. */
import type { Client } from '@temporalio/client';
import type { Logger } from 'pino';
import type { EventBus } from '../ports/bus.ts';
import type { DataEngine, DriftDetector } from '../ports/data.ts';
import type { Messenger } from '../ports/messenger.ts';
import type { Registry } from '../ports/registry.ts';
import type { ArtifactStore } from '../ports/store.ts';

export interface Services {
  readonly registry: Registry;
  readonly store: ArtifactStore;
  readonly bus: EventBus;
  readonly temporal: Client;
  readonly messenger: Messenger;
  readonly engine: DataEngine;
  readonly drift: DriftDetector;
  readonly logger: Logger;
  readonly now: () => Date;
  /** How long settled events are kept; null: for ever. */
  readonly eventRetentionMs: number | null;
}
