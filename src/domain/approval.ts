/**
 * Who may decide and when a decision counts. Pure: the registry calls it inside the transaction that records the decision,
 * and again when a version is promoted.
 */
import type { PolicyDocument } from '../contracts/documents.ts';

export interface DecisionInput {
  readonly requestId: string;
  readonly actor: string;
  readonly decision: 'approve' | 'reject';
  readonly bundleDigest: string;
  readonly reason: string | null;
  readonly via: 'signal' | 'update';
}

export interface DecisionContext {
  readonly model: string;
  readonly run: string;
  /** Undefined when the run asks for no decision (yet, or any more). */
  readonly request: {
    readonly bundleDigest: string;
    readonly required: number;
    readonly expiresAt: string;
    readonly closed: string | null;
  } | null;
  readonly requester: string | null;
  readonly policies: readonly PolicyDocument[];
  /** Decisions accepted so far. */
  readonly accepted: readonly Pick<DecisionInput, 'actor' | 'decision' | 'bundleDigest'>[];
  readonly now: string;
}

export type DecisionVerdict =
  | { readonly status: 'accepted'; readonly settles: 'approved' | 'rejected' | null; readonly detail: string }
  | { readonly status: 'refused'; readonly reason: string };

const refused = (reason: string): DecisionVerdict => ({ status: 'refused', reason });

/** `*` stands for any characters; everything else for itself. */
export function matchesModel(pattern: string, model: string): boolean {
  const parts = pattern.split('*');
  if (parts.length === 1) return pattern === model;
  const [first = '', ...rest] = parts;
  const last = rest.pop() ?? '';
  if (!model.startsWith(first)) return false;
  let at = first.length;
  for (const part of rest) {
    const found = model.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return model.length - last.length >= at && model.endsWith(last);
}

/** Approvers of a model: named by every policy that covers it, so that adding a policy never widens who may decide. */
export function entitledApprovers(policies: readonly PolicyDocument[], model: string): readonly string[] {
  const covering = policies.filter((policy) => policy.models.some((pattern) => matchesModel(pattern, model)));
  const [first, ...others] = covering;
  if (!first) return [];
  return first.approvers.filter((name) => others.every((policy) => policy.approvers.includes(name)));
}

function notEntitled(context: DecisionContext, actor: string): string | null {
  const covering = context.policies.filter((policy) =>
    policy.models.some((pattern) => matchesModel(pattern, context.model)),
  );
  if (covering.length === 0)
    return `no Policy covers ${context.model}, so nobody is entitled; apply one that names approvers`;
  const approvers = entitledApprovers(covering, context.model);
  if (!approvers.includes(actor)) {
    return `${actor} is not an approver of ${context.model} (policy ${covering.map((policy) => policy.name).join(', ')}: ${approvers.join(', ') || 'nobody'})`;
  }
  if (context.requester === actor && !covering.every((policy) => policy.requester_may_approve)) {
    return `${actor} asked for ${context.run} and may not decide on it (requester_may_approve is false)`;
  }
  return null;
}

/** Judges one decision. Rejecting needs the same entitlement as approving. One accepted rejection settles the run. */
export function judgeDecision(context: DecisionContext, decision: DecisionInput): DecisionVerdict {
  const { request } = context;
  if (!request) return refused(`${context.run} does not wait for a decision`);
  if (request.closed !== null) return refused(`${context.run} is decided already: ${request.closed}`);
  if (decision.bundleDigest !== request.bundleDigest) {
    return refused(
      `the decision is for bundle ${decision.bundleDigest || '(none)'}, ${context.run} waits for one on ${request.bundleDigest}`,
    );
  }
  if (context.now >= request.expiresAt) return refused(`the request expired at ${request.expiresAt}`);
  const why = notEntitled(context, decision.actor);
  if (why) return refused(why);
  if (context.accepted.some((other) => other.actor === decision.actor))
    return refused(`${decision.actor} has decided on ${context.run} already`);
  if (decision.decision === 'reject')
    return { status: 'accepted', settles: 'rejected', detail: `rejected by ${decision.actor}` };
  const counted = countedApprovals(context);
  const total = counted.length + 1;
  return {
    status: 'accepted',
    settles: total >= request.required ? 'approved' : null,
    detail: `${total} of ${request.required} approvals`,
  };
}

/** Approvers whose approval counts now: distinct, for this digest, entitled by the policies of this moment. */
export function countedApprovals(context: DecisionContext): readonly string[] {
  const digest = context.request?.bundleDigest;
  const actors = context.accepted
    .filter(
      (one) => one.decision === 'approve' && one.bundleDigest === digest && notEntitled(context, one.actor) === null,
    )
    .map((one) => one.actor);
  return [...new Set(actors)];
}

/** Why a version may not be promoted now; null when its decision is valid. */
export function promotionObstacle(context: DecisionContext, bundleDigest: string): string | null {
  const { request } = context;
  if (!request) return `${context.run} has no approval request`;
  if (request.bundleDigest !== bundleDigest)
    return `the decision is for bundle ${request.bundleDigest}, not ${bundleDigest}`;
  if (context.accepted.some((one) => one.decision === 'reject')) return `${context.run} was rejected`;
  const counted = countedApprovals(context);
  if (counted.length < request.required) {
    return `${counted.length} of ${request.required} approvals are valid now (${counted.join(', ') || 'none'})`;
  }
  return null;
}
