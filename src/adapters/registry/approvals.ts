/** Approval requests and decisions. The judgement runs inside the transaction that records it, on the policies of that moment. */
import { RUN_OUTCOMES } from '../../contracts/values.ts';
import type { DecisionContext, DecisionInput, DecisionVerdict } from '../../domain/approval.ts';
import type { ApprovalRecord, ApprovalRegistry, DecisionRecord } from '../../ports/registry/versions.ts';
import type { Database, Row, Session } from './database.ts';
import { allPolicies, isModel } from './definitions.ts';
import { appendAudit, record } from './journal.ts';
import { int, json, oneOf, oneOfOrNull, text, textOrNull } from './rows.ts';
import { findRun } from './runs.ts';

const DECISIONS = ['approve', 'reject'] as const;
const VIA = ['signal', 'update'] as const;

function decisionRecord(row: Row): DecisionRecord {
  const verdict = json<DecisionVerdict>(row, 'verdict');
  return {
    requestId: text(row, 'request_id'),
    actor: text(row, 'actor'),
    decision: oneOf(row, 'decision', DECISIONS),
    bundleDigest: text(row, 'bundle_digest'),
    reason: textOrNull(row, 'reason'),
    via: oneOf(row, 'via', VIA),
    status: verdict.status,
    refusal: verdict.status === 'refused' ? verdict.reason : null,
    at: text(row, 'at'),
  };
}

const APPROVALS = 'SELECT a.*, coalesce(r.outcome, a.settled) AS outcome FROM approvals a JOIN runs r ON r.run = a.run';

async function approvalRecord(db: Session, row: Row): Promise<ApprovalRecord> {
  const run = text(row, 'run');
  return {
    run,
    model: text(row, 'model'),
    version: int(row, 'version'),
    bundleDigest: text(row, 'bundle_digest'),
    required: int(row, 'required'),
    requestedAt: text(row, 'requested_at'),
    expiresAt: text(row, 'expires_at'),
    decisions: (await db.all('SELECT * FROM decisions WHERE run = ? ORDER BY seq', run)).map(decisionRecord),
    outcome: oneOfOrNull(row, 'outcome', RUN_OUTCOMES),
  };
}

export async function findApproval(db: Session, run: string): Promise<ApprovalRecord | undefined> {
  const row = await db.get(`${APPROVALS} WHERE a.run = ?`, run);
  return row && (await approvalRecord(db, row));
}

/** All that a judgement rests on, as it stands in this transaction. */
export async function decisionContext(db: Session, model: string, run: string, now: string): Promise<DecisionContext> {
  const approval = await findApproval(db, run);
  const request = approval && {
    bundleDigest: approval.bundleDigest,
    required: approval.required,
    expiresAt: approval.expiresAt,
    closed: approval.outcome,
  };
  return {
    model,
    run,
    request: request ?? null,
    requester: (await findRun(db, run))?.requester ?? null,
    policies: await allPolicies(db),
    accepted: approval?.decisions.filter((one) => one.status === 'accepted') ?? [],
    now,
  };
}

type ApprovalRequest = Parameters<ApprovalRegistry['requestApproval']>[0];

async function requestApproval(db: Session, input: ApprovalRequest): Promise<void> {
  if (await findApproval(db, input.run)) return;
  const { run, model, version, bundleDigest, required, requestedAt, expiresAt } = input;
  await db.run(
    'INSERT INTO approvals (run, model, version, bundle_digest, required, requested_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)',
    ...[run, model, version, bundleDigest, required, requestedAt, expiresAt],
  );
  const facts = { run, version, bundleDigest, required, expiresAt };
  await record(
    db,
    { model, action: 'approval.requested', actor: null, body: facts, at: requestedAt },
    { model, type: 'approval.requested', id: `approval.requested:${run}`, data: facts, at: requestedAt },
  );
}

interface Decided {
  readonly verdict: DecisionVerdict;
  readonly approval: ApprovalRecord | undefined;
}

/** The model of a run that is not known: the refusal still belongs to that model's chain. */
const modelOfRunId = (run: string): string => run.replace(/-\d+$/, '');

async function auditRefusal(
  db: Session,
  model: string,
  run: string,
  decision: DecisionInput,
  refusal: string,
  at: string,
): Promise<void> {
  await appendAudit(db, {
    model,
    action: 'approval.refused',
    actor: decision.actor,
    body: { run, ...decision, refusal },
    at,
  });
}

function sameDecision(row: Row, decision: DecisionInput): boolean {
  const known = decisionRecord(row);
  return (
    known.actor === decision.actor &&
    known.decision === decision.decision &&
    known.bundleDigest === decision.bundleDigest &&
    known.reason === decision.reason
  );
}

async function decide(
  db: Session,
  run: string,
  decision: DecisionInput,
  judge: (context: DecisionContext) => DecisionVerdict,
  at: string,
): Promise<Decided> {
  const model = (await findRun(db, run))?.model;
  if (model === undefined) {
    const verdict: DecisionVerdict = { status: 'refused', reason: `there is no run ${run}` };
    const named = modelOfRunId(run);
    if (await isModel(db, named)) await auditRefusal(db, named, run, decision, verdict.reason, at);
    return { verdict, approval: undefined };
  }
  const known = await db.get('SELECT * FROM decisions WHERE run = ? AND request_id = ?', run, decision.requestId);
  if (known && sameDecision(known, decision))
    return { verdict: json<DecisionVerdict>(known, 'verdict'), approval: await findApproval(db, run) };
  if (known) {
    const reason = `request id ${decision.requestId} was used for another decision on ${run}`;
    await auditRefusal(db, model, run, decision, reason, at);
    return { verdict: { status: 'refused', reason }, approval: await findApproval(db, run) };
  }
  const verdict = judge(await decisionContext(db, model, run, at));
  await db.run(
    `INSERT INTO decisions (run, request_id, actor, decision, bundle_digest, reason, via, verdict, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ...[
      run,
      decision.requestId,
      decision.actor,
      decision.decision,
      decision.bundleDigest,
      decision.reason,
      decision.via,
    ],
    ...[JSON.stringify(verdict), at],
  );
  if (verdict.status === 'refused') {
    await auditRefusal(db, model, run, decision, verdict.reason, at);
    return { verdict, approval: await findApproval(db, run) };
  }
  if (verdict.settles !== null)
    await db.run('UPDATE approvals SET settled = ? WHERE run = ? AND settled IS NULL', verdict.settles, run);
  const facts = {
    run,
    version: (await findApproval(db, run))?.version ?? null,
    ...decision,
    settles: verdict.settles,
    detail: verdict.detail,
  };
  await record(
    db,
    { model, action: 'approval.decided', actor: decision.actor, body: facts, at },
    { model, type: 'approval.decided', id: `approval.decided:${run}:${decision.requestId}`, data: facts, at },
  );
  return { verdict, approval: await findApproval(db, run) };
}

export function createApprovals(db: Database): ApprovalRegistry {
  return {
    requestApproval: (input) => db.transaction((tx) => requestApproval(tx, input)),
    approval: (run) => db.read((tx) => findApproval(tx, run)),
    openApprovals: () =>
      db.read(async (tx) => {
        const open = `${APPROVALS} WHERE r.outcome IS NULL AND a.settled IS NULL ORDER BY a.requested_at, a.run`;
        return Promise.all((await tx.all(open)).map((row) => approvalRecord(tx, row)));
      }),
    recordDecision: (run, decision, judge, at) => db.transaction((tx) => decide(tx, run, decision, judge, at)),
  };
}
