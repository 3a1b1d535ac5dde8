/** The name of a keyed store: what it must hold, by digest. Builders and servers come to the same one without asking each other. */
import { createHash } from 'node:crypto';
import { canonicalJson } from '../domain/canonical.ts';
import type { LookupSpec } from '../domain/joins.ts';

export const lookupDigest = (spec: LookupSpec): string =>
  createHash('sha256').update(canonicalJson(spec)).digest('hex');
