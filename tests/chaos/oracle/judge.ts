/** The oracle: gathers what there is, judges every invariant, and counts. */
import { checkAudit } from './audit.ts';
import { checkDeployments } from './deployments.ts';
import { checkEvents } from './events.ts';
import { gather, number, type Where } from './evidence.ts';
import { checkHistories } from './histories.ts';
import { type Figures, type Report, Tally } from './report.ts';

export async function judge(where: Where, figures: Figures): Promise<Report> {
  const tally = new Tally();
  const evidence = await gather(where);
  try {
    tally.check(
      'E',
      figures.isQuiet,
      `not at rest ${figures.drainSeconds.toFixed(0)} s after the last fault: ${figures.left}`,
    );
    checkEvents(evidence, tally);
    await checkDeployments(evidence, tally);
    checkAudit(evidence, tally);
    const histories = await checkHistories(where, tally);
    const count = (sql: string): number => number(evidence.rows(`SELECT count(*) AS n FROM ${sql}`)[0] ?? {}, 'n');
    const byFate = evidence
      .rows('SELECT fate, count(*) AS n FROM fates GROUP BY fate')
      .map((row) => `${row.fate} ${row.n}`);
    const { isQuiet: _, left: __, ...told } = figures;
    return tally.report({
      published: evidence.meant.size,
      acknowledged: evidence.acked.size,
      deliveries: count('deliveries'),
      events: count('events'),
      duplicates: count("deliveries WHERE fate = 'duplicate'"),
      deadLetters: count("deliveries WHERE fate = 'dead_lettered'"),
      fates: byFate.join(', '),
      runs: count('runs'),
      versions: count('versions'),
      deployments: count('deployments'),
      decisions: count('decisions'),
      histories,
      ...told,
      drainedWithin60s: figures.isQuiet && figures.drainSeconds <= 60,
    });
  } finally {
    evidence.close();
  }
}
