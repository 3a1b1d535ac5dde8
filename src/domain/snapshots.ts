/** What belongs to a snapshot. Pure. */
import type { SnapshotManifest } from '../contracts/data.ts';

/** Digests of all bytes that a snapshot names. */
export const partsOfSnapshot = ({ parts, reference, testSource, profile }: SnapshotManifest): readonly string[] => [
  ...[parts.train, parts.validation, parts.test].map(({ digest }) => digest),
  reference,
  testSource,
  ...(profile === undefined ? [] : [profile]),
];
