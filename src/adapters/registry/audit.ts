/** Reading and verifying the hash chains. A chain is trusted only against a head that was kept elsewhere. */
import type { AuditRegistry, AuditRow } from '../../ports/registry/audit.ts';
import type { Database, Row, Session } from './database.ts';
import { type AuditHead, appendAudit, auditHash, GENESIS } from './journal.ts';
import { int, json, text, textOrNull } from './rows.ts';

/** Rows read at once while verifying, so that a long chain does not fill the memory. */
const PAGE = 1_000;

const COLUMNS = 'model, sequence, at, action, actor, body, previous, hash';

function auditRow(row: Row): AuditRow {
  return {
    model: text(row, 'model'),
    sequence: int(row, 'sequence'),
    at: text(row, 'at'),
    action: text(row, 'action'),
    actor: textOrNull(row, 'actor'),
    body: json<AuditRow['body']>(row, 'body'),
    previous: text(row, 'previous'),
    hash: text(row, 'hash'),
  };
}

/** Why this row does not follow from the one before it; null when it does. */
function problemOf(row: Row, before: AuditHead): string | null {
  const expected = before.sequence + 1;
  const sequence = int(row, 'sequence');
  if (sequence !== expected) return `row ${expected} is missing: row ${sequence} follows row ${before.sequence}`;
  let read: AuditRow;
  try {
    read = auditRow(row);
  } catch (error) {
    return `row ${sequence} was edited: ${error instanceof Error ? error.message : String(error)}`;
  }
  if (read.previous !== before.hash)
    return `row ${sequence} does not follow row ${before.sequence}: its previous hash is another`;
  if (auditHash(read) !== read.hash)
    return `row ${sequence} (${read.action}) was edited: its content does not give its hash`;
  return null;
}

async function verify(db: Session, model: string, head: AuditHead | undefined) {
  let last: AuditHead = { sequence: 0, hash: GENESIS };
  let headSeen: string | null = null;
  const answer = (problem: string | null) => ({
    ok: problem === null,
    rows: last.sequence,
    head: last.sequence === 0 ? null : last,
    problem,
  });
  for (;;) {
    const page = await db.all(
      `SELECT ${COLUMNS} FROM audit WHERE model = ? AND sequence > ? ORDER BY sequence LIMIT ${PAGE}`,
      model,
      last.sequence,
    );
    for (const row of page) {
      const problem = problemOf(row, last);
      if (problem !== null) return answer(problem);
      last = { sequence: int(row, 'sequence'), hash: text(row, 'hash') };
      if (head?.sequence === last.sequence) headSeen = last.hash;
    }
    if (page.length < PAGE) break;
  }
  const kept = await db.get('SELECT sequence, hash FROM audit_heads WHERE model = ?', model);
  if (kept ? int(kept, 'sequence') !== last.sequence || text(kept, 'hash') !== last.hash : last.sequence > 0) {
    return answer(
      `the chain ends at row ${last.sequence}, its recorded head is row ${kept ? int(kept, 'sequence') : 0}: its end was cut off or added to`,
    );
  }
  if (head && headSeen === null)
    return answer(
      `the chain ends at row ${last.sequence}, the head given is row ${head.sequence}: its end was cut off`,
    );
  if (head && headSeen !== head.hash)
    return answer(`row ${head.sequence} has another hash than the head given: the chain was written anew`);
  return answer(null);
}

export function createAudit(db: Database): AuditRegistry {
  return {
    audit: (model, limit) =>
      db.read(async (tx) =>
        (
          await tx.all(
            `SELECT ${COLUMNS} FROM (SELECT * FROM audit WHERE model = ? ORDER BY sequence DESC LIMIT ?) AS last ORDER BY sequence`,
            model,
            limit,
          )
        ).map(auditRow),
      ),

    verifyAudit: (model, head) => db.read((tx) => verify(tx, model, head)),

    async recordAudit(input) {
      await db.transaction((tx) => appendAudit(tx, input));
    },
  };
}
