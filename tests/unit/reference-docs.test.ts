/** The reference pages say what the code says, and leave no key or setting without a word. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { generate, ROOT, settings, undescribed } from '../../docs/generate.ts';

let pages: ReadonlyMap<string, string>;
beforeAll(async () => {
  pages = await generate();
}, 60_000);

/** Variables that a source file names as texts of its own. */
function variablesIn(path: string): readonly string[] {
  const source = readFileSync(join(ROOT, path), 'utf8');
  return [...source.matchAll(/'((?:REFIT|TEMPORAL|KAFKA|AWS)_[A-Z0-9_]+)'/g)].map(([, name = '']) => name);
}

/** Files that a page names in code or links to, from the root of the project. */
function pathsIn(page: string): readonly string[] {
  const text = readFileSync(join(ROOT, page), 'utf8');
  const named = [...text.matchAll(/`((?:src|tests|workflows|activities|workers|docs|trainers|examples)\/[\w./-]+)`/g)];
  const linked = [...text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)];
  const isPattern = (path: string): boolean => /NAME|GROUP/.test(path);
  return [...named.map(([, path = '']) => path), ...linked.map(([, path = '']) => join(dirname(page), path))].filter(
    (path) => !isPattern(path),
  );
}

describe('the reference', () => {
  it('is what `npm run docs` makes of the code', () => {
    const stale = [...pages].filter(([path, text]) => {
      const file = join(ROOT, path);
      return !existsSync(file) || readFileSync(file, 'utf8') !== text;
    });
    expect(
      stale.map(([path]) => path),
      'stale pages; run `npm run docs`',
    ).toEqual([]);
  });

  it('has no page of a schema that is gone', () => {
    const schemas = 'docs/reference/schemas';
    const extra = readdirSync(join(ROOT, schemas)).filter((file) => !pages.has(`${schemas}/${file}`));
    expect(extra).toEqual([]);
  });

  it('describes every key: add `.describe()` in src/contracts', () => {
    expect(undescribed()).toEqual([]);
  });

  it('and the pages written by hand name only files that are there', () => {
    const written = readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.md') && !path.startsWith('reference'))
      .map((path) => `docs/${path}`);
    const broken = [...written, 'CONTRIBUTING.md'].flatMap((page) =>
      pathsIn(page).filter((path) => !existsSync(join(ROOT, path))),
    );
    expect(broken).toEqual([]);
  });

  it('lists every setting that the code reads, and no other', () => {
    const files = readdirSync(join(ROOT, 'src/settings'));
    const read = ['src/settings.ts', ...files.map((file) => `src/settings/${file}`)].flatMap(variablesIn);
    const listed = settings().map(({ name }) => name);
    // Named in errors only, because they are not supported; and the two that set-up reads by itself.
    // The second names of AWS are in the meaning of the first.
    const unsupported = (name: string): boolean =>
      /_DATA$|_DISABLE_HOST_VERIFICATION$|^AWS_ENDPOINT_URL$|^AWS_DEFAULT_REGION$/.test(name);
    expect(read.filter((name) => !unsupported(name) && !listed.includes(name))).toEqual([]);
    // OTEL_* is OpenTelemetry's own.
    const byOthers = ['REFIT_CACHE', 'TEMPORAL_CLI_PATH', 'REFIT_TOPIC_PREFIX', 'OTEL_EXPORTER_OTLP_ENDPOINT'];
    expect(listed.filter((name) => !read.includes(name) && !byOthers.includes(name))).toEqual([]);
    expect(settings().filter(({ meaning }) => meaning === '')).toEqual([]);
    const page = readFileSync(join(ROOT, 'docs/reference/settings.md'), 'utf8');
    expect(listed.filter((name) => !page.includes(`| \`${name}\` |`))).toEqual([]);
  });
});
