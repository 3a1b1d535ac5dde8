/** Registers a project: bundle into the store, definitions into the registry, then the lifecycles learn of them. */
import { createHash } from 'node:crypto';
import { schedules } from '../adapters/schedule.ts';
import { canonicalJson } from '../domain/canonical.ts';
import type { ProjectManifest } from '../ports/project.ts';
import type { ApplyChange } from '../ports/registry/definitions.ts';
import { checkProject, type Known, type Project, type ProjectFiles } from '../project/check.ts';
import { ApiError } from './errors.ts';
import type { Updates } from './lifecycles.ts';
import { ensureSweepSchedule } from './schedules.ts';
import type { Services } from './services.ts';

export interface ApplyRequest {
  readonly files: ProjectFiles;
  readonly root: string;
  readonly gitCommit: string | null;
  readonly actor: string;
  readonly dryRun: boolean;
}
export interface ApplyAnswer {
  readonly changes: readonly ApplyChange[];
  readonly problems: Project['problems'];
  readonly projectDigest: string;
}

export async function knownOf({ registry }: Pick<Services, 'registry'>): Promise<Known> {
  const records = await registry.datasets();
  const datasets = await Promise.all(
    records.map(
      async ({ name, document }) =>
        [name, { document, columns: (await registry.latestDatasetVersion(name))?.manifest.columns ?? [] }] as const,
    ),
  );
  const tasks = (await registry.models()).map(({ name, document }) => [name, document.task] as const);
  return { datasets: new Map(datasets), policies: await registry.policies(), tasks: new Map(tasks) };
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** What a definition's digest covers: the document with its defaults, and all files that it can use. */
function digestsOf(manifest: ProjectManifest): {
  readonly projectDigest: string;
  readonly digestOf: (model: Project['models'][number]) => string;
} {
  const projectDigest = sha256(Buffer.from(canonicalJson(manifest)));
  // Documents of other models in the same folder do not make a definition a new one; its own is in the digest in full.
  const own = Object.fromEntries(Object.entries(manifest.files).filter(([path]) => !/^[^/]+\.(ya?ml|md)$/.test(path)));
  return { projectDigest, digestOf: (model) => sha256(Buffer.from(canonicalJson({ document: model, files: own }))) };
}

export async function applyProject(services: Services, updates: Updates, request: ApplyRequest): Promise<ApplyAnswer> {
  const { registry, store, temporal } = services;
  const project = await checkProject(request.files, await knownOf(services), services.engine, schedules);
  if (project.problems.some((problem) => problem.severity === 'error')) {
    throw new ApiError(400, 'the project has problems; nothing was registered', { problems: project.problems });
  }
  const manifest: ProjectManifest = {
    files: Object.fromEntries([...request.files].map(([path, bytes]) => [path, sha256(bytes)])),
  };
  const { projectDigest, digestOf } = digestsOf(manifest);
  const models = project.models.map((document) => ({ document, definitionDigest: digestOf(document) }));
  if (request.dryRun)
    return { changes: await compare(services, project, models), problems: project.problems, projectDigest };
  for (const bytes of request.files.values()) await store.putBytes(bytes);
  await store.putBytes(Buffer.from(canonicalJson(manifest)));
  const changes = await registry.apply({
    datasets: project.datasets,
    models,
    policies: project.policies,
    projectDigest,
    root: request.root,
    gitCommit: request.gitCommit,
    actor: request.actor,
    at: services.now().toISOString(),
  });
  // Also where nothing changed: an earlier apply may have ended between registry and lifecycle.
  for (const { document, definitionDigest } of models) {
    await ensureSweepSchedule(temporal, document);
    const record = await registry.model(document.name);
    await updates.applyDefinition(document.name, {
      definitionDigest,
      actor: request.actor,
      requestId: `${definitionDigest}:${record?.revision ?? 0}`,
    });
  }
  return { changes, problems: project.problems, projectDigest };
}

/** What `apply` would change. */
async function compare(
  { registry }: Services,
  project: Project,
  models: readonly { readonly document: { readonly name: string }; readonly definitionDigest: string }[],
): Promise<readonly ApplyChange[]> {
  const status = (present: unknown, next: unknown): ApplyChange['status'] =>
    present === undefined ? 'created' : canonicalJson(present) === canonicalJson(next) ? 'unchanged' : 'changed';
  const policies = await registry.policies();
  const changes: ApplyChange[] = [];
  for (const document of project.datasets)
    changes.push({
      kind: 'Dataset',
      name: document.name,
      status: status((await registry.dataset(document.name))?.document, document),
    });
  for (const { document, definitionDigest } of models) {
    changes.push({
      kind: 'Model',
      name: document.name,
      status: status((await registry.model(document.name))?.definitionDigest, definitionDigest),
    });
  }
  for (const document of project.policies)
    changes.push({
      kind: 'Policy',
      name: document.name,
      status: status(
        policies.find((policy) => policy.name === document.name),
        document,
      ),
    });
  return changes;
}
