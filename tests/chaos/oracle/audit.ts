/** D: every chain hashed again by rules of its own, against the heads that lifecycle events carried to Kafka. */
import { type Evidence, number, sha256, text } from './evidence.ts';
import type { Tally } from './report.ts';

/** Keys in order, no spaces; written anew here, since the product's own would repeat the product's mistakes. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    const keys = Object.keys(value).toSorted();
    return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical((value as Record<string, unknown>)[key])}`).join(',')}}`;
  }
  return JSON.stringify(value);
}

export function checkAudit(evidence: Evidence, tally: Tally): void {
  const hashes = new Map<string, string>();
  const last = new Map<string, { sequence: number; hash: string }>();
  for (const row of evidence.rows('SELECT * FROM audit ORDER BY model, sequence')) {
    const model = text(row, 'model');
    const sequence = number(row, 'sequence');
    const before = last.get(model) ?? { sequence: 0, hash: '0'.repeat(64) };
    tally.check(
      'D',
      sequence === before.sequence + 1 && row.previous === before.hash,
      `row ${sequence} of ${model} does not follow row ${before.sequence}`,
    );
    const { at, action, actor, previous } = row;
    const hash = sha256(
      canonical({ model, sequence, at, action, actor, body: JSON.parse(text(row, 'body')), previous }),
    );
    tally.check(
      'D',
      hash === row.hash,
      `row ${sequence} of ${model} (${action}) has a hash that its content does not give`,
    );
    hashes.set(`${model}/${sequence}`, text(row, 'hash'));
    last.set(model, { sequence, hash: text(row, 'hash') });
  }
  for (const record of evidence.records.lifecycle ?? []) {
    const event = JSON.parse(String(record.value)) as {
      readonly id: string;
      readonly subject: string;
      readonly data: { readonly auditHead?: { readonly sequence: number; readonly hash: string } };
    };
    const head = event.data.auditHead;
    tally.check(
      'D',
      head !== undefined && hashes.get(`${event.subject}/${head.sequence}`) === head.hash,
      `the head in ${event.id} is not in the chain of ${event.subject}`,
    );
  }
}
