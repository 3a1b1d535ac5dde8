/** Approval requests and decisions. The judgement runs inside the transaction that records it, on the policies of that moment. */
import { RUN_OUTCOMES } from '../../contracts/values.ts';
import type { DecisionContext, DecisionInput, DecisionVerdict } from '../../domain/approval.ts';
import type { ApprovalRecord, ApprovalRegistry, DecisionRecord } from '../../ports/registry.ts';
import type { Database, Row } from './database.ts';
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

function approvalRecord(db: Database, row: Row): ApprovalRecord {
  const run = text(row, 'run');
  return {
    run,
    model: text(row, 'model'),
    version: int(row, 'version'),
    bundleDigest: text(row, 'bundle_digest'),
    required: int(row, 'required'),
    requestedAt: text(row, 'requested_at'),
    expiresAt: text(row, 'expires_at'),
    decisions: db.all('SELECT * FROM decisions WHERE run = ? ORDER BY seq', run).map(decisionRecord),
    outcome: oneOfOrNull(row, 'outcome', RUN_OUTCOMES),
  };
}

export function findApproval(db: Database, run: string): ApprovalRecord | undefined {
  const row = db.get(`${APPROVALS} WHERE a.run = ?`, run);
  return row && approvalRecord(db, row);
}

/** All that a judgement rests on, as it stands in this transaction. */
export function decisionContext(db: Database, model: string, run: string, now: string): DecisionContext {
  const approval = findApproval(db, run);
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
    requester: findRun(db, run)?.requester ?? null,
    policies: allPolicies(db),
    accepted: approval?.decisions.filter((one) => one.status === 'accepted') ?? [],
    now,
  };
}

type ApprovalRequest = Parameters<ApprovalRegistry['requestApproval']>[0];

function requestApproval(db: Database, input: ApprovalRequest): void {
  if (findApproval(db, input.run)) return;
  const { run, model, version, bundleDigest, required, requestedAt, expiresAt } = input;
  db.run(
    'INSERT INTO approvals (run, model, version, bundle_digest, required, requested_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)',
    ...[run, model, version, bundleDigest, required, requestedAt, expiresAt],
  );
  const facts = { run, version, bundleDigest, required, expiresAt };
  record(
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

function auditRefusal(
  db: Database,
  model: string,
  run: string,
  decision: DecisionInput,
  refusal: string,
  at: string,
): void {
  appendAudit(db, {
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

function decide(
  db: Database,
  run: string,
  decision: DecisionInput,
  judge: (context: DecisionContext) => DecisionVerdict,
  at: string,
): Decided {
  const model = findRun(db, run)?.model;
  if (model === undefined) {
    const verdict: DecisionVerdict = { status: 'refused', reason: `there is no run ${run}` };
    const named = modelOfRunId(run);
    if (isModel(db, named)) auditRefusal(db, named, run, decision, verdict.reason, at);
    return { verdict, approval: undefined };
  }
  const known = db.get('SELECT * FROM decisions WHERE run = ? AND request_id = ?', run, decision.requestId);
  if (known && sameDecision(known, decision))
    return { verdict: json<DecisionVerdict>(known, 'verdict'), approval: findApproval(db, run) };
  if (known) {
    const reason = `request id ${decision.requestId} was used for another decision on ${run}`;
    auditRefusal(db, model, run, decision, reason, at);
    return { verdict: { status: 'refused', reason }, approval: findApproval(db, run) };
  }
  const verdict = judge(decisionContext(db, model, run, at));
  db.run(
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
    auditRefusal(db, model, run, decision, verdict.reason, at);
    return { verdict, approval: findApproval(db, run) };
  }
  if (verdict.settles !== null)
    db.run('UPDATE approvals SET settled = ? WHERE run = ? AND settled IS NULL', verdict.settles, run);
  const facts = {
    run,
    version: findApproval(db, run)?.version ?? null,
    ...decision,
    settles: verdict.settles,
    detail: verdict.detail,
  };
  record(
    db,
    { model, action: 'approval.decided', actor: decision.actor, body: facts, at },
    { model, type: 'approval.decided', id: `approval.decided:${run}:${decision.requestId}`, data: facts, at },
  );
  return { verdict, approval: findApproval(db, run) };
}

export function createApprovals(db: Database): ApprovalRegistry {
  return {
    requestApproval: (input) => db.transaction(() => requestApproval(db, input)),
    approval: (run) => db.read(() => findApproval(db, run)),
    openApprovals: () =>
      db.read(() =>
        db
          .all(`${APPROVALS} WHERE r.outcome IS NULL AND a.settled IS NULL ORDER BY a.requested_at, a.run`)
          .map((row) => approvalRecord(db, row)),
      ),
    recordDecision: (run, decision, judge, at) => db.transaction(() => decide(db, run, decision, judge, at)),
  };
}
