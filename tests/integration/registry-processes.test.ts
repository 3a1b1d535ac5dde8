/** The registry under several processes: kills, one schema, and an audit chain that shows every tampering; on both databases. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openRegistry } from '../../src/adapters/registry/index.ts';
import type { Registry } from '../../src/ports/registry.ts';
import { BACKENDS, type BackendRegistry, freshOn, newPostgresUrl } from '../support/registry-backends.ts';
import { at, project, ship, waitingCandidate } from '../support/registry-fixtures.ts';

describe.each(BACKENDS)('on %s', (backend) => {
  let opened: BackendRegistry;
  let registry: Registry;

  beforeEach(async () => {
    opened = await freshOn(backend);
    registry = opened.registry;
    await registry.apply(project());
  });
  afterEach(() => opened.close());

  describe('the audit chain', () => {
    beforeEach(async () => {
      await ship(registry, await waitingCandidate(registry, 'm', 'one'));
    });

    it('verifies, and against a head kept elsewhere', async () => {
      const { ok, head, rows } = await registry.verifyAudit('m');
      expect(ok).toBe(true);
      expect(rows).toBe((await registry.audit('m', 1_000)).length);
      await registry.recordAudit({
        model: 'm',
        action: 'update.refused',
        actor: 'eve',
        body: { why: 'late', undefined: undefined },
        at: at(30),
      });
      expect(head && (await registry.verifyAudit('m', head)).ok).toBe(true);
    });

    const last = "sequence = (SELECT max(sequence) FROM audit WHERE model = 'm')";
    const forgeHead =
      "UPDATE audit_heads SET (sequence, hash) = (SELECT sequence, hash FROM audit WHERE model = 'm' ORDER BY sequence DESC LIMIT 1) WHERE model = 'm'";
    it.each([
      [
        'an edited body',
        "UPDATE audit SET body = replace(body, 'ana', 'eve') WHERE action = 'approval.decided'",
        /approval.decided\) was edited/,
      ],
      ['an edited actor', "UPDATE audit SET actor = 'eve' WHERE action = 'definition.applied'", /row 1 .* was edited/],
      ['a body that is none', "UPDATE audit SET body = '{' WHERE sequence = 2 AND model = 'm'", /row 2 was edited/],
      ['a deleted row', "DELETE FROM audit WHERE sequence = 3 AND model = 'm'", /row 3 is missing/],
      ['a deleted first row', "DELETE FROM audit WHERE sequence = 1 AND model = 'm'", /row 1 is missing/],
      ['a chain cut off', `DELETE FROM audit WHERE model = 'm' AND ${last}`, /cut off/],
      ['an emptied chain', "DELETE FROM audit WHERE model = 'm'", /cut off/],
    ])('shows %s', async (_name, statement, problem) => {
      await opened.sql(statement);
      expect(await registry.verifyAudit('m')).toMatchObject({ ok: false, problem: expect.stringMatching(problem) });
    });

    it('shows a chain that was cut off together with its head only against one kept elsewhere', async () => {
      const { head } = await registry.verifyAudit('m');
      await opened.sql(`DELETE FROM audit WHERE model = 'm' AND ${last}; ${forgeHead}`);
      expect((await registry.verifyAudit('m')).ok).toBe(true);
      expect(head && (await registry.verifyAudit('m', head))).toMatchObject({
        ok: false,
        problem: expect.stringMatching(/cut off/),
      });
      await registry.recordAudit({ model: 'm', action: 'x', actor: null, body: {}, at: at(40) });
      expect(head && (await registry.verifyAudit('m', head))).toMatchObject({
        ok: false,
        problem: expect.stringMatching(/written anew/),
      });
    });
  });

  describe('several processes', () => {
    function writer(
      name: string,
      count: number,
    ): { child: ChildProcess; acknowledged: string[]; ended: Promise<unknown> } {
      const child = spawn(
        process.execPath,
        ['--import', 'tsx', 'tests/support/registry-writer.ts', opened.url, name, String(count)],
        {
          stdio: ['ignore', 'pipe', 'inherit'],
        },
      );
      const acknowledged: string[] = [];
      let rest = '';
      child.stdout?.on('data', (chunk: Buffer) => {
        const lines = (rest + chunk.toString()).split('\n');
        rest = lines.pop() ?? '';
        acknowledged.push(...lines);
      });
      return { child, acknowledged, ended: once(child, 'close') };
    }

    it('writing at once, one of them killed, lose nothing that was acknowledged', async () => {
      const one = writer('a', 150);
      const other = writer('b', 100_000);
      while (one.acknowledged.length < 50 || other.acknowledged.length < 50) await sleep(5);
      other.child.kill('SIGKILL');
      await Promise.all([one.ended, other.ended]);
      expect(one.child.exitCode).toBe(0);
      expect(one.acknowledged).toHaveLength(150);
      const runs = await registry.runs({ model: 'm', limit: 1_000_000 });
      const stored = new Set(runs.map(({ eventKeys, run }) => `${eventKeys[0]?.slice('test '.length)} ${run}`));
      expect([...one.acknowledged, ...other.acknowledged].filter((line) => !stored.has(line))).toEqual([]);
      expect(runs.map((run) => run.number)).toEqual(runs.map((_run, index) => runs.length - index));
      expect(await registry.verifyAudit('m')).toMatchObject({ ok: true });
      expect(await registry.outbox(1_000_000)).toHaveLength(runs.length);
      const { published, counts } = await registry.deliveryCounts();
      expect(counts.acted_on).toBe(runs.length);
      // At most the one delivery that was taken in when the kill came between it and its run.
      expect(published - runs.length).toBeLessThanOrEqual(1);
    }, 60_000);

    it('opening a new registry at once all find one schema', async () => {
      const url = backend === 'sqlite' ? `${opened.url}-new` : newPostgresUrl();
      const all = await Promise.all(Array.from({ length: 5 }, () => openRegistry(url)));
      for (const one of all) await one.ping();
      for (const one of all) await one.close();
    });
  });

  describe('a registry', () => {
    it('of a newer Refit is refused', async () => {
      await opened.sql('UPDATE schema_version SET version = 999');
      await expect(openRegistry(opened.url)).rejects.toThrow(/schema version 999.*newer/);
    });

    it('that is closed says so', async () => {
      const other = await openRegistry(opened.url);
      await other.close();
      await expect(other.ping()).rejects.toThrow(/is closed/);
    });
  });
});
