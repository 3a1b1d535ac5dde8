/** Addresses of data, and the places that they may lie in. Nothing here touches a disk or a network. */
import { DataProblem } from '../../ports/data.ts';

export type Scheme = 'file' | 's3' | 'http' | 'https' | 'query';
const SCHEMES: readonly Scheme[] = ['file', 's3', 'http', 'https', 'query'];

/** A dot, a separator or NUL behind an escape: what looks like one place and is another. */
const HIDDEN = /%(?:2e|2f|5c|00)/i;
const CONTROL = /\p{Cc}|\\/u;

export const problem = (detail: string): DataProblem => new DataProblem('uri', detail);

/** @throws DataProblem for what is no address, or one that hides where it leads */
export function schemeOf(uri: string): Scheme {
  const scheme = SCHEMES.find((one) => uri.startsWith(one === 'query' ? 'query:' : `${one}://`));
  if (!scheme) throw problem(`${uri} is none that data is read from; write file:///…, s3://…, https://… or query:NAME`);
  if (scheme === 'query') return scheme;
  if (CONTROL.test(uri)) throw problem(`${JSON.stringify(uri)} holds a backslash or a control character`);
  if (HIDDEN.test(uri)) throw problem(`${uri} hides a dot or a separator behind an escape`);
  const [path = ''] = uri.slice(uri.indexOf('://') + 3).split(/[?#]/);
  if (path.split('/').some((segment) => segment === '..' || segment === '.'))
    throw problem(`${uri} leads out of its folder by a segment of dots`);
  return scheme;
}

export const isFolder = (root: string): boolean => !/^(?:s3|https?):\/\//i.test(root);

export function s3Place(uri: string): { readonly bucket: string; readonly key: string } {
  const [, bucket = '', key = ''] = /^s3:\/\/([^/]+)\/?(.*)$/s.exec(uri) ?? [];
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket)) throw problem(`${uri} names no bucket`);
  return { bucket, key };
}

/** By whole segments: `s3://lake/sales` is not above `s3://lake/sales-secret`. */
const isBelow = (path: string, above: string): boolean => {
  const folder = above.replace(/\/+$/, '');
  return folder === '' || path === folder || path.startsWith(`${folder}/`);
};

function isWithin(uri: string, root: string): boolean {
  if (uri.startsWith('s3://')) {
    if (!/^s3:\/\//i.test(root)) return false;
    const [own, other] = [s3Place(uri), s3Place(root)];
    return own.bucket === other.bucket && isBelow(own.key, other.key);
  }
  if (!URL.canParse(root) || !URL.canParse(uri)) return false;
  const [own, other] = [new URL(uri), new URL(root)];
  return own.origin === other.origin && isBelow(own.pathname, other.pathname);
}

/** @throws DataProblem for an address of S3 or HTTP that lies in none of the roots */
export function requireWithin(uri: string, roots: readonly string[]): void {
  const remote = roots.filter((root) => !isFolder(root));
  if (!remote.some((root) => isWithin(uri, root)))
    throw problem(
      `${uri} lies outside of where data may be read from (${roots.join(', ')}); widen it with REFIT_DATA_ROOTS`,
    );
}

/** What `*` (within a segment) and `**` (over segments) stand for; undefined for an address without any. */
export function patternOf(path: string): RegExp | undefined {
  if (!path.includes('*')) return undefined;
  const parts = path.split(/(\*\*\/|\*\*|\*)/).map((part) => {
    if (part === '**/') return '(?:[^/]+/)*';
    if (part === '**') return '.*';
    if (part === '*') return '[^/]*';
    return part.replace(/[.+?^${}()|[\]\\]/g, '\\$&');
  });
  return new RegExp(`^${parts.join('')}$`, 's');
}

/** Most files that one pattern may name. */
export const MAX_MATCHES = 1_000;
export function requireMatches(uri: string, matches: readonly string[]): readonly string[] {
  if (matches.length === 0) throw problem(`no file matches ${uri}`);
  if (matches.length > MAX_MATCHES)
    throw problem(`${uri} matches more than ${MAX_MATCHES} files; name a narrower pattern`);
  return [...matches].sort((a, b) => (a < b ? -1 : 1));
}
