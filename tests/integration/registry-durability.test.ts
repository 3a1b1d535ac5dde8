/** The registry as a SQLite file: locks, older schemas, and files that are none. */
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { DatabaseSync } from '@photostructure/sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openRegistry } from '../../src/adapters/registry/index.ts';
import { FIRST } from '../../src/adapters/registry/schema.ts';
import type { Registry } from '../../src/ports/registry.ts';
import { at, freshRegistry, type OpenedRegistry, project } from '../support/registry-fixtures.ts';

let opened: OpenedRegistry;
let registry: Registry;

beforeEach(async () => {
  opened = await freshRegistry();
  registry = opened.registry;
  await registry.apply(project());
});
afterEach(() => opened.close());

describe('a file', () => {
  it('wait for a lock without blocking the event loop', async () => {
    const holder = new DatabaseSync(opened.file);
    holder.exec('BEGIN IMMEDIATE');
    let turns = 0;
    const timer = setInterval(() => {
      turns += 1;
    }, 10);
    const pending = registry.setPaused('m', { by: 'ana', reason: null }, at(1));
    // A loop that is blocked never gets there: the lock is held until it has.
    while (turns <= 20) await sleep(10);
    holder.exec('COMMIT');
    holder.close();
    await pending;
    clearInterval(timer);
    expect(await registry.paused('m')).toMatchObject({ by: 'ana' });
  });
});

it('of an older Refit is brought up to date, with what stands in it', async () => {
  const file = `${opened.file}-old`;
  const old = new DatabaseSync(file);
  old.exec(`${FIRST}
      CREATE TABLE schema_version (version INTEGER NOT NULL); INSERT INTO schema_version VALUES (1);
      INSERT INTO events (seq, key, source, id, type, digest, body, target_kind, target_name, received_at, settled)
        VALUES (1, 's a', 's', 'a', 't', 'x', '{}', 'model', 'm', '${at(1)}', 1);
      INSERT INTO deliveries VALUES ('data', 0, '7', 0, 1, 'x', NULL, NULL, NULL, '${at(1)}');
      INSERT INTO runs (run, model, number, request_key, trigger, event_keys, definition_digest, stage, started_at)
        VALUES ('m-000001', 'm', 1, 'k', 'drift', '["s a"]', 'x', 'train', '${at(2)}');
      INSERT INTO fates VALUES (1, 'm', 'acted_on', 'm-000001', NULL, NULL, '${at(2)}');
      INSERT INTO labels VALUES ('m', 'row', '1', '${at(1)}');`);
  old.close();
  const brought = await openRegistry(`file:${file}`);
  expect(await brought.run('m-000001')).toMatchObject({
    ...{ eventCount: 1, eventKeys: ['s a'], cpuSeconds: { reserved: 0, spent: null } },
  });
  expect(await brought.event('s a')).toMatchObject({
    publishedAt: null,
    deliveries: [{ attempt: 1, publishedAt: null, retryOf: null }],
  });
  expect([await brought.labelCount('m'), await brought.labelsSince('m', '')]).toEqual([1, 0]);
  await brought.close();
});

it('that is no database is refused by its name', async () => {
  const text = `${opened.file}.txt`;
  writeFileSync(text, 'not a database, '.repeat(100));
  await expect(openRegistry(`file:${text}`)).rejects.toThrow(`${text}: file is not a database`);
});
