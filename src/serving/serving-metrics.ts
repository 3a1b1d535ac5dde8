/** What Prometheus sees of an inference server. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { LATENCY_BUCKETS_MS } from '../contracts/plan.ts';
import type { ServingRole } from '../contracts/values.ts';

export interface ServingMetrics {
  answered(model: string, version: number, role: ServingRole, latencyMs: number): void;
  failed(model: string, version: number, role: ServingRole): void;
  refused(status: number): void;
  dropped(model: string, rows: number): void;
  shadowSkipped(model: string): void;
  /** The text of /metrics. */
  text(): Promise<string>;
  readonly contentType: string;
}

export interface MetricSources {
  readonly waitingRows: () => number;
  readonly secondsSinceRegistry: () => number;
  readonly lookups: () => readonly {
    readonly spec: string;
    readonly dataset: string;
    readonly datasetVersion: number;
  }[];
  readonly plans: () => readonly { readonly model: string; readonly deployment: number; readonly revision: number }[];
}

export function createServingMetrics(sources: MetricSources): ServingMetrics {
  const registers = [new Registry()];
  const [register] = registers;
  if (register === undefined) throw new Error('unreachable: a list of one');
  collectDefaultMetrics({ register });
  const labelNames = ['model', 'version', 'role'] as const;
  const requests = new Counter({
    name: 'refit_serving_requests_total',
    help: 'Requests that a version answered or failed',
    labelNames: [...labelNames, 'outcome'],
    registers,
  });
  const latency = new Histogram({
    name: 'refit_serving_model_seconds',
    help: 'Time in features and model',
    labelNames,
    buckets: LATENCY_BUCKETS_MS.map((milliseconds) => milliseconds / 1_000),
    registers,
  });
  const refusals = new Counter({
    name: 'refit_serving_refused_total',
    help: 'Requests answered with an error, by status',
    labelNames: ['status'],
    registers,
  });
  const dropped = new Counter({
    name: 'refit_serving_dropped_log_rows_total',
    help: 'Rows of the prediction log that were dropped',
    labelNames: ['model'],
    registers,
  });
  const skipped = new Counter({
    name: 'refit_serving_skipped_shadow_requests_total',
    help: 'Requests that shadows left out because they lag behind',
    labelNames: ['model'],
    registers,
  });
  const gauge = (name: string, help: string, value: () => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value());
      },
    });
  };
  gauge(
    'refit_serving_waiting_log_rows',
    'Rows of the prediction log that wait for the publisher',
    sources.waitingRows,
  );
  gauge(
    'refit_serving_registry_age_seconds',
    'Seconds since the registry was reached; -1 before the first time',
    sources.secondsSinceRegistry,
  );
  new Gauge({
    name: 'refit_serving_plan_revision',
    help: 'Revision of the plan in force',
    labelNames: ['model', 'deployment'],
    registers,
    collect() {
      this.reset();
      for (const { model, deployment, revision } of sources.plans())
        this.set({ model, deployment: String(deployment) }, revision);
    },
  });
  new Gauge({
    name: 'refit_serving_lookup_dataset_version',
    help: 'Version of the joined dataset that is looked up in',
    labelNames: ['dataset', 'spec'],
    registers,
    collect() {
      this.reset();
      for (const { spec, dataset, datasetVersion } of sources.lookups())
        this.set({ dataset, spec: spec.slice(0, 12) }, datasetVersion);
    },
  });
  return {
    answered(model, version, role, latencyMs) {
      const labels = { model, version: String(version), role };
      requests.inc({ ...labels, outcome: 'answered' });
      latency.observe(labels, latencyMs / 1_000);
    },
    failed: (model, version, role) => requests.inc({ model, version: String(version), role, outcome: 'failed' }),
    refused: (status) => refusals.inc({ status: String(status) }),
    dropped: (model, rows) => dropped.inc({ model }, rows),
    shadowSkipped: (model) => skipped.inc({ model }),
    text: () => register.metrics(),
    contentType: register.contentType,
  };
}
