/** Answers to 'why': this version, this run, this event. Everything in them is read from the registry. */
import { SETTLED_FATES } from '../contracts/values.ts';
import { changeText, diffVersions } from '../domain/dataset-versions.ts';
import type { DeploymentRecord } from '../ports/registry/deployments.ts';
import type { EventRecord } from '../ports/registry/events.ts';
import type { RunRecord } from '../ports/registry/runs.ts';
import type { VersionRecord } from '../ports/registry/versions.ts';
import type { Registry } from '../ports/registry.ts';
import { notFound } from './errors.ts';

export interface Why {
  readonly ref: string;
  readonly kind: 'version' | 'run' | 'event';
  /** One sentence. */
  readonly answer: string;
  /** The chain of facts, oldest first. */
  readonly because: readonly string[];
}

type Reader = Registry;

function triggerText(run: RunRecord): string {
  const events =
    run.eventCount === 0
      ? ''
      : ` by ${run.eventCount} ${run.eventCount === 1 ? 'event' : 'events'}, first ${run.eventKeys[0]}`;
  const asked = run.requester === null ? '' : ` asked for by ${run.requester}`;
  return `${run.trigger}${asked}${events}${run.reason ? ` (${run.reason})` : ''}`;
}

async function runFacts(registry: Reader, run: RunRecord): Promise<string[]> {
  const definition = await registry.definition(run.model, run.definitionDigest);
  const approval = await registry.approval(run.run);
  return [
    `${run.startedAt}: started by ${triggerText(run)}`,
    `definition ${run.definitionDigest}${definition ? `, revision ${definition.revision}, applied by ${definition.actor} at ${definition.appliedAt}` : ''}${definition?.gitCommit ? `, commit ${definition.gitCommit}` : ''}`,
    ...(run.repeats === null ? [] : [`repeats ${run.repeats}`]),
    ...(run.datasetVersion === null || !definition
      ? []
      : [`saw version ${run.datasetVersion} of dataset ${definition.document.dataset}`]),
    ...(run.snapshot === null ? [] : [`snapshot ${run.snapshot}`]),
    ...(run.training === null
      ? []
      : [
          `trained by ${run.training.trainer} in ${run.training.seconds} s (attempt ${run.training.attempt}), ONNX ${run.training.onnx}`,
        ]),
    ...run.gates.map((gate) => `gate ${gate.gate}: ${gate.status}, ${gate.detail}`),
    ...(approval?.decisions ?? []).map(
      (decision) =>
        `${decision.at}: ${decision.decision} by ${decision.actor || '(nobody)'} via ${decision.via}, ${decision.status}${decision.refusal ? `: ${decision.refusal}` : ''}${decision.reason ? ` (${decision.reason})` : ''}`,
    ),
    ...(run.outcome === null
      ? [`now at stage ${run.stage}`]
      : [`${run.finishedAt}: ${run.outcome}${run.outcomeReason ? `, ${run.outcomeReason}` : ''}`]),
  ];
}

const deploymentFacts = (deployment: DeploymentRecord): string[] => [
  `${deployment.startedAt}: deployment ${deployment.deployment} (${deployment.kind}) of version ${deployment.toVersion}${deployment.fromVersion === null ? '' : `, from version ${deployment.fromVersion}`}${deployment.actor ? `, by ${deployment.actor}` : ''}${deployment.reason ? `: ${deployment.reason}` : ''}`,
  ...deployment.steps.map((step) => `${step.at}: ${step.step}: ${step.status}, ${step.detail}`),
  ...(deployment.outcome === null
    ? []
    : [`${deployment.finishedAt}: ${deployment.outcome}, ${deployment.outcomeReason}`]),
];

async function whyVersion(registry: Reader, ref: string, version: VersionRecord): Promise<Why> {
  const run = await registry.run(version.run);
  if (!run) throw notFound(`run ${version.run}`, 'see refit runs list');
  const approvers = ((await registry.approval(run.run))?.decisions ?? [])
    .filter((one) => one.status === 'accepted' && one.decision === 'approve')
    .map((one) => `${one.actor} via ${one.via}`);
  const deployments = (await registry.deployments(version.model, 1_000))
    .filter((one) => one.toVersion === version.version)
    .reverse();
  const last = deployments.at(-1);
  const approved = approvers.length > 0 ? `, approved by ${approvers.join(' and ')}` : '';
  const rolled =
    last?.outcome && last.outcome !== 'promoted'
      ? `; deployment ${last.deployment} ended ${last.outcome}: ${last.outcomeReason}`
      : '';
  return {
    ref,
    kind: 'version',
    answer: `${version.model}@${version.version} is ${version.role}${version.promotedAt ? `, champion from ${version.promotedAt}` : ''}: ${run.run} was started by ${triggerText(run)}, reached ${version.metric.name} ${version.metric.value.toFixed(4)} on ${version.evaluation.rows} held-out rows${approved}${rolled}.`,
    because: [
      ...(await runFacts(registry, run)),
      `registered as version ${version.version}, bundle ${version.bundleDigest}`,
      ...deployments.flatMap(deploymentFacts),
    ],
  };
}

async function whyRun(registry: Reader, ref: string, run: RunRecord): Promise<Why> {
  const end =
    run.outcome === null
      ? `is at stage ${run.stage}`
      : `ended ${run.outcome}${run.outcomeReason ? `: ${run.outcomeReason}` : ''}`;
  return {
    ref,
    kind: 'run',
    answer: `${run.run} was started by ${triggerText(run)} and ${end}.`,
    because: await runFacts(registry, run),
  };
}

/** Which version an arrival made of its dataset, and what it corrected. */
async function versionMade(registry: Reader, { target, key }: EventRecord): Promise<readonly string[]> {
  const made = target.kind === 'dataset' ? await registry.datasetVersionOfEvent(target.name, key) : undefined;
  if (!made) return [];
  const before = await registry.datasetVersion(made.dataset, made.version - 1);
  const change = changeText(diffVersions(before?.manifest ?? null, made.manifest));
  return [`${made.createdAt}: made version ${made.version} of dataset ${made.dataset}, which ${change}`];
}

async function whyEvent(registry: Reader, ref: string, event: EventRecord): Promise<Why> {
  const fates = event.fates.filter((fate) => fate.model !== '' || event.fates.length === 1);
  const told = fates.map(
    (fate) =>
      `${fate.model ? `for ${fate.model} ` : ''}${fate.fate}${fate.run ? ` in ${fate.run}` : ''}${fate.waitsFor && !SETTLED_FATES.some((one) => one === fate.fate) ? `, waits for ${fate.waitsFor}` : ''}${fate.reason ? `: ${fate.reason}` : ''}`,
  );
  return {
    ref,
    kind: 'event',
    answer: `Event ${event.id} of ${event.source} was ${told.join('; ') || 'received'}.`,
    because: [
      ...event.deliveries.map(
        (delivery) =>
          `${delivery.at}: delivered at ${delivery.origin.topic}/${delivery.origin.partition}/${delivery.origin.offset}${delivery.fate ? `, ${delivery.fate}` : ''}`,
      ),
      ...(await versionMade(registry, event)),
      ...fates.map((fate, index) => `${fate.at}: ${told[index]}`),
    ],
  };
}

/** MODEL@3, MODEL@champion and MODEL@challenger. */
export async function versionOf(
  registry: Pick<Registry, 'champion' | 'versions' | 'version'>,
  model: string,
  name: string,
): Promise<VersionRecord> {
  const found =
    name === 'champion'
      ? await registry.champion(model)
      : name === 'challenger'
        ? (await registry.versions(model)).find((version) => version.role === 'challenger')
        : /^\d+$/.test(name)
          ? await registry.version(model, Number(name))
          : undefined;
  if (!found) throw notFound(`${model}@${name}`, `see refit versions ${model}`);
  return found;
}

/** REF is MODEL@VERSION, a run, an event's id, or its source and id with a space between. */
export async function answerWhy(registry: Reader, ref: string): Promise<Why> {
  const at = /^([a-z0-9-]{1,63})@(.+)$/.exec(ref);
  if (at?.[1] !== undefined && at[2] !== undefined && (await registry.model(at[1])))
    return whyVersion(registry, ref, await versionOf(registry, at[1], at[2]));
  const run = await registry.run(ref);
  if (run) return whyRun(registry, ref, run);
  const event = await registry.event(ref);
  if (event) return whyEvent(registry, ref, event);
  const [byId, ...others] = await registry.eventsById(ref);
  if (byId && others.length === 0) return whyEvent(registry, ref, byId);
  if (byId) throw notFound(`${ref} alone`, `several sources use this id; write "SOURCE ID", for example "${byId.key}"`);
  throw notFound(ref, 'REF is MODEL@VERSION, a run such as MODEL-000001, or the id of an event');
}
