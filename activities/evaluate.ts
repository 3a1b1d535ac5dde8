/** Evaluation of the ONNX file that would ship, the gates, and the registration of what passed them. */
import type { BundleManifest } from '../src/contracts/bundle.ts';
import type { SnapshotManifest } from '../src/contracts/data.ts';
import type { GateResult, MetricValue } from '../src/contracts/evaluation.ts';
import type { EvaluateResult, RegisterResult, StageRequest } from '../src/contracts/messages.ts';
import { canonicalJson } from '../src/domain/canonical.ts';
import { judgeGate, overall } from '../src/domain/gates.ts';
import { judgedFrom, listedSlices } from '../src/domain/slices.ts';
import { defaultMetric } from '../src/domain/statistics/scored.ts';
import { type EvaluationRequest, ModelProblem } from '../src/ports/data.ts';
import { readJson } from '../src/ports/store.ts';
import { presentPath } from './artifacts.ts';
import { featuresText, pinned } from './definition.ts';
import { FAILURES, fail, required } from './failures.ts';
import { beating } from './heartbeat.ts';
import { joinsWithFiles, versionsOf } from './joins.ts';
import { ensureLookups } from './lookups.ts';
import type { Ports } from './ports.ts';

export type EvaluateActivities = ReturnType<typeof createEvaluateActivities>;

export function createEvaluateActivities(ports: Ports) {
  const { registry, store, evaluator, surroundings } = ports;

  async function championOf(model: string, challenger: SnapshotManifest): Promise<EvaluationRequest['champion']> {
    const champion = await registry.champion(model);
    if (!champion) return null;
    const bundle = await readJson<BundleManifest>(store, champion.bundleDigest);
    const snapshot = await readJson<SnapshotManifest>(store, champion.snapshot);
    return {
      version: champion.version,
      task: bundle.task,
      onnx: await store.pathOf(bundle.onnx),
      featuresSql: Buffer.from(await store.getBytes(bundle.featuresSql)).toString('utf8'),
      source: bundle.source,
      features: bundle.features,
      classes: bundle.classes,
      // On the data that the challenger saw, where it joins the same datasets.
      joins: await joinsWithFiles(ports, bundle.joins ?? [], versionsOf(challenger.joins)),
      trainedOn: await Promise.all(
        [snapshot.parts.train.digest, snapshot.parts.validation.digest].map((digest) => presentPath(ports, digest)),
      ),
    };
  }

  /** What passed has its metric: the gate of the metric is inconclusive without one. */
  function resultOf(gates: readonly GateResult[], metric: MetricValue | null): EvaluateResult {
    const { status, reason } = overall(gates);
    if (status !== 'passed') return { metric, gates, status, reason };
    if (metric === null) throw new Error('all gates passed although the metric is undefined');
    return { metric, gates, status, reason };
  }

  return {
    async evaluateRun(
      request: StageRequest & { readonly snapshot: string; readonly onnx: string; readonly predictions: string },
    ): Promise<EvaluateResult> {
      const known = required(await registry.run(request.run), request.run);
      if (known.evaluation) return resultOf(known.gates, known.metric);
      const { document } = await pinned(ports, request);
      const snapshot = await readJson<SnapshotManifest>(store, request.snapshot);
      const metric = document.evaluation.metric ?? defaultMetric(document.task);
      const champion = await championOf(request.model, snapshot);
      const gate = document.gates.find((one) => one.type === 'champion');
      try {
        return await beating(async () => {
          const { evaluation, parity } = await evaluator.evaluate({
            task: document.task,
            metric,
            slices: document.evaluation.slices,
            judgedFrom: judgedFrom(document.gates),
            classes: snapshot.classes,
            features: snapshot.features,
            onnx: await store.pathOf(request.onnx),
            test: await presentPath(ports, snapshot.parts.test.digest),
            testSource: await presentPath(ports, snapshot.testSource),
            validation: await presentPath(ports, snapshot.parts.validation.digest),
            predictions: await presentPath(ports, request.predictions),
            champion,
            confidence: gate?.confidence ?? 0.95,
            seed: document.training.seed,
          });
          const value = evaluation.metrics[metric];
          const gates = [
            {
              gate: 'parity',
              status: 'passed' as const,
              detail: `the ONNX file agrees with the trainer to ${parity.toExponential(1)}`,
            },
            value === undefined
              ? {
                  gate: metric,
                  status: 'inconclusive' as const,
                  detail: `${metric} is undefined on ${evaluation.rows} held-out rows`,
                }
              : {
                  gate: metric,
                  status: 'passed' as const,
                  detail: `${value.toFixed(4)} on ${evaluation.rows} held-out rows`,
                },
            ...document.gates.map((one) => judgeGate(one, evaluation, champion !== null)),
          ];
          const measured = value === undefined ? null : { name: metric, value };
          await registry.updateRun(
            request.run,
            {
              stage: 'register',
              evaluation: listedSlices(evaluation),
              gates,
              ...(measured === null ? {} : { metric: measured }),
            },
            surroundings.now().toISOString(),
          );
          return resultOf(gates, measured);
        });
      } catch (error) {
        if (error instanceof ModelProblem) throw fail(FAILURES.model, error.message);
        throw error;
      }
    },

    /** Binds file, features, label and schema under one digest, to which approvals are bound. */
    async registerVersion(
      request: StageRequest & { readonly snapshot: string; readonly onnx: string },
    ): Promise<RegisterResult> {
      const record = await pinned(ports, request);
      const { document } = record;
      const run = required(await registry.run(request.run), request.run);
      const snapshot = await readJson<SnapshotManifest>(store, request.snapshot);
      const dataset = required(await registry.dataset(document.dataset), `dataset ${document.dataset}`);
      if (!run.evaluation || !run.metric) throw fail(FAILURES.notFound, `${request.run} has no evaluation`);
      const joins = (snapshot.joins ?? []).map(({ datasetVersion: _version, ...join }) => join);
      const bundle: BundleManifest = {
        model: request.model,
        task: document.task,
        onnx: request.onnx,
        featuresSql: await store.putBytes(Buffer.from(await featuresText(ports, record))),
        labelSql: document.label.sql,
        features: snapshot.features,
        source: snapshot.source,
        classes: snapshot.classes,
        idColumn: dataset.document.id ?? null,
        ...(joins.length === 0 ? {} : { joins }),
      };
      // Before the version: a server that takes it up finds what it looks up.
      await ensureLookups(ports, joins);
      const bundleDigest = await store.putBytes(Buffer.from(canonicalJson(bundle)));
      const version = await registry.registerVersion({
        model: request.model,
        run: request.run,
        bundleDigest,
        snapshot: request.snapshot,
        metric: run.metric,
        evaluation: run.evaluation,
        source: snapshot.source,
        createdAt: surroundings.now().toISOString(),
      });
      return { version: version.version, bundleDigest: version.bundleDigest };
    },
  };
}
