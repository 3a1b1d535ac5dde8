/** One monitoring pass: drift by feature, performance once outcomes are known, and the verdict. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BundleManifest } from '../src/contracts/bundle.ts';
import type { SnapshotManifest } from '../src/contracts/data.ts';
import type { ModelDocument } from '../src/contracts/documents.ts';
import { durationMs } from '../src/contracts/duration.ts';
import type { SweepResult } from '../src/contracts/messages.ts';
import { judgeSweep } from '../src/domain/drift.ts';
import { metricDirection } from '../src/domain/statistics/scored.ts';
import { DataProblem, type DriftReport } from '../src/ports/data.ts';
import type { SkewRecord, SweepRecord } from '../src/ports/registry/monitoring.ts';
import type { VersionRecord } from '../src/ports/registry/versions.ts';
import { readJson } from '../src/ports/store.ts';
import { presentPath } from './artifacts.ts';
import { required } from './failures.ts';
import { beating } from './heartbeat.ts';
import { joinsWithFiles } from './joins.ts';
import type { Ports } from './ports.ts';

export type SweepActivities = ReturnType<typeof createSweepActivities>;

const LABEL_PAGE = 20_000;

interface Window {
  readonly startMs: number;
  readonly endMs: number;
}

export function createSweepActivities({ registry, store, drift, engine, notifier, surroundings }: Ports) {
  /** Known outcomes as Parquet with id and label; null when there are none. */
  async function labelsFile(model: string, folder: string): Promise<string | null> {
    const lines: string[] = [];
    for (let after = ''; ; ) {
      const page = await registry.labels(model, after, LABEL_PAGE);
      for (const label of page) lines.push(JSON.stringify({ id: label.id, label: label.label }));
      const last = page.at(-1);
      if (!last || page.length < LABEL_PAGE) break;
      after = last.id;
    }
    if (lines.length === 0) return null;
    const source = join(folder, 'labels.jsonl');
    const output = join(folder, 'labels.parquet');
    await writeFile(source, lines.join('\n'));
    // Ids are matched as texts with those that were logged, so none may be read as something else.
    const columns = ['id', 'label'].map((name) => ({ name, type: 'string' as const }));
    await engine.convert({ path: source, format: 'jsonl', timeColumn: null, output, columns });
    return output;
  }

  async function detect(
    champion: VersionRecord,
    monitoring: NonNullable<ModelDocument['monitoring']>,
    window: Window,
  ): Promise<DriftReport> {
    const start = new Date(window.startMs).toISOString();
    const end = new Date(window.endMs).toISOString();
    const bundle = await readJson<BundleManifest>(store, champion.bundleDigest);
    const snapshot = await readJson<SnapshotManifest>(store, champion.snapshot);
    const files = await registry.sinkFiles(champion.model, start, end);
    return surroundings.scratch(async (folder) =>
      drift.detect({
        // Erasure may have put another in its place.
        reference: await presentPath({ store, registry }, snapshot.reference),
        files: await Promise.all(files.map((file) => store.pathOf(file.digest))),
        model: champion.model,
        version: champion.version,
        windowStart: start,
        windowEnd: end,
        featuresSql: Buffer.from(await store.getBytes(bundle.featuresSql)).toString('utf8'),
        source: bundle.source,
        features: bundle.features,
        task: bundle.task,
        classes: bundle.classes,
        threshold: monitoring.threshold,
        metric: champion.metric.name,
        labels: await labelsFile(champion.model, folder),
      }),
    );
  }

  /** What was served beside what the raw data says by now. Data that does not fit is a finding, no failure of the sweep. */
  async function skewOf(
    champion: VersionRecord,
    wanted: NonNullable<NonNullable<ModelDocument['monitoring']>['skew']>,
    endMs: number,
  ): Promise<SkewRecord> {
    const bundle = await readJson<BundleManifest>(store, champion.bundleDigest);
    const { dataset } = await readJson<SnapshotManifest>(store, champion.snapshot);
    const since = new Date(endMs - durationMs(wanted.lookback)).toISOString();
    const end = new Date(endMs).toISOString();
    const version = await registry.latestDatasetVersion(dataset);
    const base = {
      ...{ since, datasetVersion: version?.version ?? 0, maxShare: wanted.max_share },
      ...{ rows: 0, differing: 0, skewed: false, features: [] },
    };
    if (bundle.idColumn === null || version === undefined)
      return { ...base, problem: `dataset ${dataset} has no ${version === undefined ? 'version' : 'id column'}` };
    const present = (digest: string): Promise<string> => presentPath({ store, registry }, digest);
    try {
      const logged = await registry.sinkFiles(champion.model, since, end);
      const report = await drift.skew({
        ...{ model: champion.model, version: champion.version, windowStart: since, windowEnd: end },
        files: await Promise.all(logged.map((file) => present(file.digest))),
        featuresSql: Buffer.from(await store.getBytes(bundle.featuresSql)).toString('utf8'),
        ...{ source: bundle.source, features: bundle.features, idColumn: bundle.idColumn },
        data: await Promise.all(version.manifest.files.map((file) => present(file.digest))),
        joins: await joinsWithFiles({ store, registry }, bundle.joins ?? [], new Map()),
      });
      const features = report.features.filter(({ differing }) => differing > 0);
      return {
        ...base,
        ...{ rows: report.rows, differing: report.differing },
        skewed: report.rows > 0 && report.differing / report.rows > wanted.max_share,
        features: [...features].sort((left, right) => right.differing - left.differing),
        problem: null,
      };
    } catch (error) {
      if (!(error instanceof DataProblem)) throw error;
      return { ...base, problem: error.message };
    }
  }

  /** Told once for each sweep that finds it: the id is that of its window. */
  async function raiseSkew(model: string, { version, windowEnd, skew }: SweepRecord): Promise<void> {
    if (!skew?.skewed) return;
    const [worst] = skew.features;
    const share = ((100 * skew.differing) / skew.rows).toFixed(1);
    const text =
      `version ${version} was served other features than the data gives: ${skew.differing} of ${skew.rows} predictions (${share} %), ` +
      `most of all ${worst?.name ?? 'none'} (${worst?.differing ?? 0}); see refit drift skew ${model}`;
    const data = {
      version,
      rows: skew.rows,
      differing: skew.differing,
      features: skew.features.map(({ name }) => name),
      text,
    };
    const at = surroundings.now().toISOString();
    await registry.emit({ model, type: 'alert.raised', id: `alert.raised:${model}:skew:${windowEnd}`, data, at });
    await notifier.notify({ model, event: 'alert.raised', text });
  }

  async function judge(
    champion: VersionRecord,
    document: ModelDocument,
    window: Window,
    report: DriftReport,
    skew: SkewRecord | null,
  ): Promise<SweepRecord> {
    const { monitoring, retraining } = document;
    const metric = champion.metric;
    const earlier = (await registry.sweeps(champion.model, 50))
      .filter((sweep) => sweep.version === champion.version && sweep.verdict !== null)
      .map((sweep) => ({
        startMs: Date.parse(sweep.windowStart),
        endMs: Date.parse(sweep.windowEnd),
        drifted: sweep.verdict !== 'stable',
      }));
    const verdict = judgeSweep({
      rows: report.rows,
      minRows: monitoring?.min_rows ?? 0,
      features: report.features,
      share: monitoring?.share ?? 0,
      metric: metric.name,
      lowerIsBetter: metricDirection(metric.name) === 'lower',
      labelled: report.labelled,
      minLabels: monitoring?.performance.min_labels ?? 0,
      performance: report.performance,
      reference: metric.value,
      maxDrop: monitoring?.performance.max_drop ?? 0,
      window,
      earlier,
      confirm: retraining.confirm_drift,
    });
    return {
      model: champion.model,
      windowStart: new Date(window.startMs).toISOString(),
      windowEnd: new Date(window.endMs).toISOString(),
      version: champion.version,
      rows: report.rows,
      labelled: report.labelled,
      verdict: verdict.verdict,
      reason: verdict.reason,
      features: report.features,
      performance:
        report.performance === null
          ? null
          : { metric: metric.name, value: report.performance, reference: metric.value, rows: report.labelled },
      ...(skew === null ? {} : { skew }),
      at: surroundings.now().toISOString(),
    };
  }

  return {
    /** Idempotent by window: the first verdict stays. */
    async sweepWindow({
      model,
      windowEndMs,
    }: {
      readonly model: string;
      readonly windowEndMs: number;
    }): Promise<SweepResult> {
      const { document } = required(await registry.model(model), `model ${model}`);
      const champion = await registry.champion(model);
      if (!champion || !document.monitoring)
        return { verdict: null, reason: champion ? 'monitoring is off' : 'no champion yet' };
      const { monitoring } = document;
      const window = { startMs: windowEndMs - durationMs(monitoring.window), endMs: windowEndMs };
      const report = await beating(() => detect(champion, monitoring, window));
      const { skew: wanted } = monitoring;
      const skew = wanted === undefined ? null : await beating(() => skewOf(champion, wanted, windowEndMs));
      const record = await registry.recordSweep(await judge(champion, document, window, report, skew));
      await raiseSkew(model, record);
      if (record.verdict === 'confirmed')
        await notifier.notify({
          model,
          event: 'alert.raised',
          text: `drift of version ${champion.version} confirmed: ${record.reason}`,
        });
      return { verdict: record.verdict, reason: record.reason };
    },
  };
}
