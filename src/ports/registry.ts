/**
 * The registry: committed facts. Every method that changes something is one transaction that also appends to the audit
 * chain and the outbox, and is idempotent by the key it names. Narrow interfaces by concern; callers take what they need.
 * Times are ISO 8601 UTC texts and come from the caller, so that they repeat.
 */

import type { AuditRegistry } from './registry/audit.ts';
import type { BatchRegistry } from './registry/batches.ts';
import type { DatasetRegistry } from './registry/datasets.ts';
import type { DefinitionRegistry } from './registry/definitions.ts';
import type { DeploymentRegistry } from './registry/deployments.ts';
import type { ErasureRegistry } from './registry/erasures.ts';
import type { EventRegistry } from './registry/events.ts';
import type { LookupRegistry } from './registry/lookups.ts';
import type { MonitoringRegistry } from './registry/monitoring.ts';
import type { OutboxRegistry } from './registry/outbox.ts';
import type { PauseRegistry } from './registry/pauses.ts';
import type { RetentionRegistry } from './registry/retention.ts';
import type { RunRegistry } from './registry/runs.ts';
import type { ApprovalRegistry, VersionRegistry } from './registry/versions.ts';

export interface Registry
  extends DefinitionRegistry,
    EventRegistry,
    DatasetRegistry,
    ErasureRegistry,
    RetentionRegistry,
    RunRegistry,
    VersionRegistry,
    ApprovalRegistry,
    DeploymentRegistry,
    MonitoringRegistry,
    BatchRegistry,
    LookupRegistry,
    OutboxRegistry,
    AuditRegistry,
    PauseRegistry {
  /** Throws when the registry cannot be read. */
  ping(): Promise<void>;
  close(): Promise<void>;
}
