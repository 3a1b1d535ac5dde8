/** The joins of a definition with the files that they read: each dataset at one version, which the snapshot names. */
import type { ResolvedJoin } from '../src/contracts/data.ts';
import type { ModelDocument } from '../src/contracts/documents.ts';
import { FIRST_TIME_MS, inWindow } from '../src/domain/dataset.ts';
import { type JoinSide, resolveJoins } from '../src/domain/joins.ts';
import { DataProblem, type JoinInput } from '../src/ports/data.ts';
import type { DatasetVersionRecord } from '../src/ports/registry/datasets.ts';
import { originalPath, presentPath } from './artifacts.ts';
import type { Ports } from './ports.ts';

/** Versions by dataset; those that are not named are the newest. */
export type PinnedVersions = ReadonlyMap<string, number>;
export type PinnedJoin = JoinInput & { readonly datasetVersion: number };
type Window = { readonly start: string; readonly end: string } | null;

const versionOf = ({ registry }: Pick<Ports, 'registry'>, dataset: string, pinned: PinnedVersions) => {
  const version = pinned.get(dataset);
  return version === undefined ? registry.latestDatasetVersion(dataset) : registry.datasetVersion(dataset, version);
};

/** Files that rows of the window can reach. */
function filesInReach(version: DatasetVersionRecord, { maxAgeMs, delayMs }: ResolvedJoin, window: Window) {
  if (window === null) return version.manifest.files;
  const start = new Date(Math.max(FIRST_TIME_MS, Date.parse(window.start) - maxAgeMs - delayMs)).toISOString();
  const found = version.manifest.files.filter((file) => inWindow(file, { start, end: window.end }));
  // The schema of the right side is still needed where nothing is in reach.
  return found.length > 0 ? found : version.manifest.files.slice(-1);
}

/** @throws DataProblem where a dataset has no version yet, or lacks what a join names */
export async function pinnedJoins(
  ports: Pick<Ports, 'registry' | 'store'>,
  document: ModelDocument,
  left: JoinSide,
  window: Window,
  pinned: PinnedVersions,
): Promise<readonly PinnedJoin[]> {
  const wanted = document.joins ?? [];
  const sides = new Map<string, JoinSide>();
  const versions = new Map<string, DatasetVersionRecord>();
  for (const { dataset } of wanted) {
    const record = await ports.registry.dataset(dataset);
    const version = await versionOf(ports, dataset, pinned);
    if (record === undefined || version === undefined)
      throw new DataProblem(
        'join',
        `dataset ${dataset}, which the model joins, has no version yet; publish data of it first`,
      );
    sides.set(dataset, { document: record.document, columns: version.manifest.columns });
    versions.set(dataset, version);
  }
  const { joins, problems } = resolveJoins(wanted, left, (dataset) => sides.get(dataset));
  const [problem] = problems;
  if (problem !== undefined) throw new DataProblem('join', `${problem.path.join('.')}: ${problem.detail}`);
  return Promise.all(
    joins.map(async (join) => {
      const version = versions.get(join.dataset);
      const files = version === undefined ? [] : filesInReach(version, join, window);
      return {
        ...join,
        datasetVersion: version?.version ?? 0,
        files:
          version === undefined
            ? []
            : await Promise.all(files.map((file) => originalPath(ports, file.digest, version))),
      };
    }),
  );
}

/** The joins of a bundle, over whole versions. */
export async function joinsWithFiles(
  ports: Pick<Ports, 'registry' | 'store'>,
  joins: readonly ResolvedJoin[],
  pinned: PinnedVersions,
): Promise<readonly JoinInput[]> {
  return Promise.all(
    joins.map(async (join) => {
      const version = await versionOf(ports, join.dataset, pinned);
      if (version === undefined) throw new DataProblem('join', `dataset ${join.dataset} has no version`);
      return {
        ...join,
        files: await Promise.all(version.manifest.files.map((file) => presentPath(ports, file.digest))),
      };
    }),
  );
}

/** What a snapshot and a bundle keep of a join: no paths. */
export const withoutFiles = ({
  files: _files,
  ...join
}: PinnedJoin): ResolvedJoin & { readonly datasetVersion: number } => join;

export const versionsOf = (
  joins: readonly { readonly dataset: string; readonly datasetVersion: number }[] | undefined,
): PinnedVersions => new Map((joins ?? []).map(({ dataset, datasetVersion }) => [dataset, datasetVersion]));
