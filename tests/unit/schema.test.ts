/** The schema of a dataset: fixed by the first version and the document; every message names file, column and both types. */
import { describe, expect, it } from 'vitest';
import type { SourceColumn } from '../../src/contracts/data.ts';
import { type DeclaredColumns, judgeSchema, readingOf } from '../../src/domain/schema.ts';

const columns = (text: string): SourceColumn[] =>
  text
    .split(' ')
    .map((one) => one.split(':'))
    .map(([name = '', type]) => ({ name, type: (type ?? 'float64') as SourceColumn['type'] }));
const judge = (
  before: string | null,
  found: string,
  more: { declared?: DeclaredColumns; empty?: readonly string[]; keys?: readonly string[] } = {},
) => {
  const { columns: next, failures } = judgeSchema({
    before: before === null ? null : columns(before),
    declared: more.declared ?? {},
    files: [{ uri: 'file:///july.csv', columns: columns(found), empty: more.empty ?? [] }],
    keys: more.keys ?? [],
  });
  return {
    next: next.map(({ name, type }) => `${name}:${type}`).join(' '),
    told: failures.map(({ severity, column, detail }) => `${severity} ${column}: ${detail}`),
  };
};

describe('the schema of a dataset', () => {
  it('is what the first version has, under what the document declares', () => {
    expect(judge(null, 'a:int64 b:string').next).toBe('a:int64 b:string');
    const declared = { a: 'float64', c: 'bool', junk: 'ignored' } as const;
    expect(judge(null, 'a:int64 b:string c:bool junk:string', { declared })).toEqual({
      next: 'a:float64 b:string c:bool',
      told: [],
    });
  });

  it('does not mind order, upper and lower case, or narrower numbers', () => {
    expect(judge('a:float64 b:string', 'B:string A:int64')).toEqual({ next: 'a:float64 b:string', told: [] });
  });

  it('rejects a missing column and another type, by file, column and both types', () => {
    expect(judge('a:float64 b:string', 'b:int64').told).toEqual([
      'block a: file:///july.csv lacks column a (float64); it has b',
      'block b: file:///july.csv has column b as int64, the dataset has it as string',
    ]);
    expect(judge('a:bool', 'a:int64').told).toHaveLength(1);
    expect(judge('a:timestamp', 'a:string').told).toHaveLength(1);
  });

  it('widens whole numbers to floats, and says so, unless the document holds the type', () => {
    const widened = judge('a:int64', 'a:float64');
    expect(widened.next).toBe('a:float64');
    expect(widened.told).toEqual([
      'warn a: file:///july.csv has column a as float64, the dataset had it as int64: from this version on it is float64',
    ]);
    expect(judge('a:int64', 'a:float64', { declared: { a: 'int64' } }).told).toEqual([
      'block a: file:///july.csv has column a as float64, the dataset has it as int64',
    ]);
  });

  it('takes a column without any value for any type', () => {
    expect(judge('a:float64', 'a:string', { empty: ['a'] })).toEqual({ next: 'a:float64', told: [] });
  });

  it('tells of a new column, and takes it in when the document names it', () => {
    expect(judge('a:int64', 'a:int64 extra:string')).toEqual({
      next: 'a:int64',
      told: [
        'warn extra: file:///july.csv has a new column extra (string): it is left out until `columns` of the Dataset document names it',
      ],
    });
    expect(judge('a:int64', 'a:int64 extra:string', { declared: { extra: 'string' } })).toEqual({
      next: 'a:int64 extra:string',
      told: [],
    });
    expect(judge('a:int64', 'a:int64 extra:string', { declared: { extra: 'ignored' } }).told).toEqual([]);
  });

  it('lets a column go that the document ignores, and keeps types that versions have', () => {
    expect(judge('a:int64 old:string', 'a:int64', { declared: { old: 'ignored' } })).toEqual({
      next: 'a:int64',
      told: [],
    });
    expect(judge('a:int64', 'a:string', { declared: { a: 'string' } }).told[0]).toMatch(
      /document has a as string, the versions so far have it as int64/,
    );
  });

  it('widens no id, which would be another one as a float', () => {
    for (const declared of [{}, { id: 'float64' }] as const)
      expect(judge('id:int64 a:int64', 'id:float64 a:float64', { keys: ['id'], declared }).told[0]).toMatch(
        /^block id: /,
      );
    expect(judge('id:int64 a:int64', 'id:float64 a:float64').next).toBe('id:float64 a:float64');
    expect(judge(null, 'id:float64', { keys: ['id'] })).toEqual({ next: 'id:float64', told: [] });
  });

  it('says how files are read: what is no part of the dataset is left out, save in the first version', () => {
    const document = { id: 'id', time: 'at', columns: { code: 'string', n: 'int64', old: 'ignored' } } as const;
    const before = columns('id:int64 OLD:string name:string x:float64');
    expect(readingOf(document, before)).toEqual({
      texts: ['code', 'name'],
      integers: ['n', 'id'],
      ignored: ['old'],
      only: ['id', 'name', 'x', 'code', 'n', 'id', 'at'],
    });
    expect(readingOf(document, undefined)).not.toHaveProperty('only');
    expect(readingOf(document, undefined).integers).toEqual(['n', 'id']);
    for (const known of [columns('ID:float64'), undefined])
      expect(readingOf({ id: 'id', columns: known ? {} : { ID: 'float64' } }, known).integers).toEqual([]);
  });

  it('needs the id and the time that the document names', () => {
    expect(judge(null, 'a:int64', { keys: ['id'] }).told).toEqual([
      'block id: file:///july.csv lacks column id, which the Dataset document names; it has a',
    ]);
  });
});
