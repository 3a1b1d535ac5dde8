/** Whether the loop has come to rest: read from the registry by SQL, without asking the product. */
import { DatabaseSync } from '@photostructure/sqlite';
import { type Admin, Kafka, logLevel } from 'kafkajs';

const TOPICS = ['data', 'labels', 'drift'] as const;

/** Each names what must be nought at rest. */
const AT_REST: Readonly<Record<string, string>> = {
  'events without a settled fate': "SELECT count(*) AS n FROM fates WHERE fate IN ('received', 'held')",
  'open runs': 'SELECT count(*) AS n FROM runs WHERE outcome IS NULL',
  'open deployments': 'SELECT count(*) AS n FROM deployments WHERE outcome IS NULL',
  'approved runs without a deployment':
    "SELECT count(*) AS n FROM runs r WHERE outcome = 'approved' AND NOT EXISTS (SELECT 1 FROM deployments d WHERE d.run = r.run)",
  'lifecycle events that were not published': 'SELECT count(*) AS n FROM outbox WHERE published_at IS NULL',
};

export interface Rest {
  readonly isQuiet: boolean;
  /** What is still under way. */
  readonly detail: string;
  readonly lag: number;
}

export class Watch {
  readonly #admin: Admin;
  constructor(
    readonly file: string,
    brokers: readonly string[],
    readonly prefix: string,
  ) {
    const kafka = new Kafka({
      clientId: 'chaos-watch',
      brokers: [...brokers],
      logLevel: logLevel.NOTHING,
      retry: { retries: 1 },
    });
    this.#admin = kafka.admin();
  }

  async look(): Promise<Rest> {
    const published = await this.#published();
    const db = new DatabaseSync(this.file, { readOnly: true });
    try {
      db.exec('PRAGMA busy_timeout = 2000');
      const count = (sql: string): number => Number((db.prepare(sql).get() as { n: number }).n);
      const taken = count("SELECT count(*) AS n FROM deliveries WHERE topic IN ('data', 'labels', 'drift')");
      const lag = Math.max(0, published - taken);
      const left = Object.entries(AT_REST).flatMap(([what, sql]) => (count(sql) > 0 ? [`${count(sql)} ${what}`] : []));
      if (lag > 0) left.push(`${lag} records that were not taken in`);
      return { isQuiet: left.length === 0, detail: left.join(', '), lag };
    } finally {
      db.close();
    }
  }

  async #published(): Promise<number> {
    await this.#admin.connect();
    const offsets = await Promise.all(TOPICS.map((topic) => this.#admin.fetchTopicOffsets(this.prefix + topic)));
    return offsets.flat().reduce((sum, one) => sum + Number(one.high) - Number(one.low), 0);
  }
  async close(): Promise<void> {
    await this.#admin.disconnect();
  }
}
