/** The independent checker: recomputes the report's figures from Kafka, Temporal's histories and the registry's file. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type KafkaRecord, readRegistry, readTopics, readWorkflows, type WorkflowEvidence } from './evidence.ts';
import { loggedPredictions } from './gain.ts';
import { type EventCounts, FATES, type Report } from './report.ts';
import { type Addresses, MODEL } from './story.ts';

type Problems = string[];

const identity = (record: KafkaRecord): string | null => {
  try {
    const { source, id } = JSON.parse(record.value) as { readonly source?: unknown; readonly id?: unknown };
    return typeof source === 'string' && typeof id === 'string' ? `${source} ${id}` : null;
  } catch {
    return null;
  }
};

/** Each delivery once: broken, a repetition, or with the fate of its event (over several models the strongest). */
export function countDeliveries(
  records: readonly KafkaRecord[],
  fates: ReadonlyMap<string, ReadonlySet<string>>,
): EventCounts {
  const counts: Record<string, number> = Object.fromEntries(FATES.map((fate) => [fate, 0]));
  const seen = new Set<string>();
  for (const record of records) {
    const key = identity(record);
    const own = key === null ? undefined : fates.get(key);
    const fate =
      key === null
        ? 'dead_lettered'
        : seen.has(key)
          ? 'duplicate'
          : (['acted_on', 'coalesced', 'refused', 'ignored'].find((one) => own?.has(one)) ?? 'unsettled');
    if (key !== null) seen.add(key);
    counts[fate] = (counts[fate] ?? 0) + 1;
  }
  const of = (fate: (typeof FATES)[number]): number => counts[fate] ?? 0;
  return {
    published: records.length,
    acted_on: of('acted_on'),
    coalesced: of('coalesced'),
    duplicate: of('duplicate'),
    refused: of('refused'),
    ignored: of('ignored'),
    dead_lettered: of('dead_lettered'),
  };
}

function registryFates(registry: string): Map<string, Set<string>> {
  const fates = new Map<string, Set<string>>();
  for (const row of readRegistry(
    registry,
    'SELECT e.key AS key, f.fate AS fate FROM fates f JOIN events e ON e.seq = f.event',
  )) {
    const key = String(row.key);
    fates.set(key, (fates.get(key) ?? new Set()).add(String(row.fate)));
  }
  return fates;
}

function checkRuns(
  report: Omit<Report, 'ok'>,
  registry: string,
  records: readonly KafkaRecord[],
  workflows: readonly WorkflowEvidence[],
  problems: Problems,
): void {
  const rows = readRegistry(
    registry,
    `SELECT run, trigger, outcome, event_keys FROM runs WHERE model = '${MODEL}' ORDER BY number`,
  );
  if (
    JSON.stringify(rows.map((row) => [row.run, row.trigger, row.outcome])) !==
    JSON.stringify(report.runs.map((run) => [run.run, run.trigger, run.outcome]))
  ) {
    problems.push('runs: the report and the registry differ');
  }
  const ids = new Set(records.map(identity).map((key) => key?.slice(key.indexOf(' ') + 1)));
  for (const run of report.runs) {
    const lost = run.eventIds.filter((id) => !ids.has(id));
    if (lost.length > 0)
      problems.push(`${run.run}: ${lost.length} of its events are not on Kafka, for example ${lost[0]}`);
    const workflow = workflows.find((one) => one.id === `run/${MODEL}/${run.run}`);
    if (workflow?.status !== 'COMPLETED') problems.push(`${run.run}: its workflow is ${workflow?.status ?? 'missing'}`);
  }
  const inTemporal = workflows.filter((one) => one.type === 'run').length;
  if (inTemporal !== report.runs.length)
    problems.push(`${inTemporal} run workflows in Temporal, ${report.runs.length} runs in the report`);
  const [first, second] = report.runs.map((run) => workflows.find((one) => one.id === `run/${MODEL}/${run.run}`));
  if (!first?.signals.includes('approve')) problems.push('the first run has no signal approve in its history');
  if (!second?.updates.includes('decide')) problems.push('the second run has no update decide in its history');
  const byEvents = report.runs.filter(
    (run) => (run.trigger === 'data' || run.trigger === 'drift') && run.eventIds.length > 0,
  );
  if (byEvents.length < 3) problems.push(`${byEvents.length} runs were started by Kafka events, at least 3 must be`);
  if (!report.runs.some((run) => run.outcome === 'gate_failed' || run.outcome === 'inconclusive'))
    problems.push('no run ended in not promoting');
  if (!byEvents.some((run) => run.trigger === 'drift' && run.outcome === 'approved'))
    problems.push('no run by confirmed drift was approved');
}

function checkVersions(
  report: Omit<Report, 'ok'>,
  registry: string,
  artifacts: string,
  lifecycle: readonly KafkaRecord[],
  problems: Problems,
): void {
  const rows = readRegistry(
    registry,
    `SELECT version, bundle_digest, role FROM versions WHERE model = '${MODEL}' ORDER BY version`,
  );
  if (
    JSON.stringify(rows.map((row) => [row.version, row.bundle_digest, row.role])) !==
    JSON.stringify(report.versions.map((one) => [one.version, one.bundleDigest, one.role]))
  ) {
    problems.push('versions: the report and the registry differ');
  }
  for (const { version, bundleDigest } of report.versions) {
    const path = [
      join(artifacts, 'sha256', bundleDigest.slice(0, 2), bundleDigest.slice(2)),
      join(artifacts, 'sha256', bundleDigest.slice(0, 2), bundleDigest),
    ].find((one) => existsSync(one));
    const found = path === undefined ? 'missing' : createHash('sha256').update(readFileSync(path)).digest('hex');
    if (found !== bundleDigest) problems.push(`version ${version}: its bundle is ${found}`);
  }
  const told = (type: string): number =>
    lifecycle.filter((record) => record.value.includes(`"dev.refit.${type}.v1"`)).length;
  if (told('version.promoted') !== 2)
    problems.push(`${told('version.promoted')} version.promoted events on Kafka, there must be 2`);
  if (told('version.rolledback') !== report.rollbacks.length || report.rollbacks.length === 0)
    problems.push(
      `${told('version.rolledback')} version.rolledback events on Kafka, ${report.rollbacks.length} in the report`,
    );
  const via = report.versions.filter((one) => one.role === 'champion' || one.version === 1).flatMap((one) => one.via);
  if (!via.includes('signal') || !via.includes('update'))
    problems.push(`the promoted versions were approved via ${via.join(', ')}; one signal and one update are needed`);
}

function checkVerdicts(
  report: Omit<Report, 'ok'>,
  fates: ReadonlyMap<string, ReadonlySet<string>>,
  problems: Problems,
): void {
  const sweeps = (verdict: string): readonly string[] =>
    report.verdicts
      .filter((one) => one.verdict === verdict)
      .map((one) => `refit/sweep/${MODEL} sweep:${MODEL}:${one.windowEnd}`);
  if (!sweeps('suspected').some((key) => fates.get(key)?.has('refused')))
    problems.push("no 'suspected' that was refused");
  if (!sweeps('confirmed').some((key) => fates.get(key)?.has('acted_on')))
    problems.push("no 'confirmed' that a run acted on");
}

function checkPredictions(report: Omit<Report, 'ok'>, records: readonly KafkaRecord[], problems: Problems): void {
  if (report.predictions.failed > 0) problems.push(`${report.predictions.failed} predictions failed`);
  const answered = loggedPredictions(records).filter((one) => one.role !== 'shadow');
  const byVersion: Record<string, number> = {};
  for (const { version } of answered) byVersion[String(version)] = (byVersion[String(version)] ?? 0) + 1;
  for (const [version, count] of Object.entries(report.predictions.byVersion)) {
    // An answer of the champion after a failed canary is logged for both: never less than callers saw.
    if ((byVersion[version] ?? 0) < count)
      problems.push(`version ${version}: callers saw ${count} answers, the log has ${byVersion[version] ?? 0}`);
  }
}

/** Problems; none means that the report is confirmed. */
export async function check(
  report: Omit<Report, 'ok'>,
  addresses: Addresses,
  home: string,
): Promise<readonly string[]> {
  const problems: Problems = [];
  const registry = join(home, 'refit.db');
  const records = await readTopics(addresses, ['data', 'labels', 'drift']);
  const fates = registryFates(registry);
  const counted = countDeliveries(records, fates);
  if (JSON.stringify(counted) !== JSON.stringify(report.events))
    problems.push(`events: recomputed ${JSON.stringify(counted)}, reported ${JSON.stringify(report.events)}`);
  const sum = FATES.reduce((total, fate) => total + counted[fate], 0);
  if (sum !== counted.published) problems.push(`${counted.published - sum} deliveries have no fate`);
  const workflows = await readWorkflows(addresses.temporal);
  checkRuns(report, registry, records, workflows, problems);
  checkVersions(report, registry, join(home, 'artifacts'), await readTopics(addresses, ['lifecycle']), problems);
  checkVerdicts(report, fates, problems);
  checkPredictions(report, await readTopics(addresses, ['predictions']), problems);
  return problems;
}
