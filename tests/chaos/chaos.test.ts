/**
 * The short form: the product on real servers, while parts and servers are killed, stopped and restarted. The oracle, which shares no
 * code with the product, judges the end. `npm run chaos` scales it up.
 */
import { describe, expect, it } from 'vitest';
import { SHORT } from './harness/options.ts';
import { removeHome, runChaos } from './harness/run.ts';
import { asText, failed } from './oracle/report.ts';

// How long it takes is not what is proven here, and the machine may be busy.
const MINUTES_MS = 60_000;

describe('chaos, the short form', () => {
  it(
    'ends as the oracle says it must: nothing lost, nothing twice, no deployment without its decision',
    async () => {
      const said: string[] = [];
      const result = await runChaos(SHORT, (line) => said.push(line));
      const text = asText(result.report);
      process.stderr.write(`${text}\n`);
      expect(failed(result.report), `${said.join('\n')}\n${text}\nkept: ${result.home}`).toEqual([]);
      expect(result.report.figures).toMatchObject({
        acknowledged: SHORT.events,
        kafkaRestarts: 1,
        temporalRestarts: 1,
      });
      await removeHome(result);
    },
    15 * MINUTES_MS,
  );
});
