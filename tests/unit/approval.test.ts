/** Who may decide, and when a decision counts. */
import { describe, expect, it } from 'vitest';
import {
  countedApprovals,
  type DecisionContext,
  type DecisionInput,
  entitledApprovers,
  judgeDecision,
  matchesModel,
  promotionObstacle,
} from '../../src/domain/approval.ts';
import { policy } from '../support/registry-fixtures.ts';

const DIGEST = 'a'.repeat(64);
const OTHER = 'b'.repeat(64);

const context = (change: Partial<DecisionContext> = {}): DecisionContext => ({
  model: 'm',
  run: 'm-000001',
  request: { bundleDigest: DIGEST, required: 2, expiresAt: '2026-01-02T00:00:00.000Z', closed: null },
  requester: null,
  policies: [policy(['ana', 'ben', 'eve'])],
  accepted: [],
  now: '2026-01-01T00:00:00.000Z',
  ...change,
});
const request = (change: Partial<NonNullable<DecisionContext['request']>>): Partial<DecisionContext> => ({
  request: { bundleDigest: DIGEST, required: 2, expiresAt: '2026-01-02T00:00:00.000Z', closed: null, ...change },
});
const decision = (change: Partial<DecisionInput> = {}): DecisionInput => ({
  ...{ requestId: 'r', actor: 'ana', decision: 'approve', bundleDigest: DIGEST, reason: null, via: 'update' },
  ...change,
});
const approved = (actor: string, bundleDigest = DIGEST) => ({ actor, decision: 'approve' as const, bundleDigest });

describe('a decision is refused', () => {
  const cases: [string, DecisionContext, DecisionInput, RegExp][] = [
    ['when none is asked for', context({ request: null }), decision(), /does not wait/],
    ['when the run is decided', context(request({ closed: 'superseded' })), decision(), /decided already: superseded/],
    ['for another bundle', context(), decision({ bundleDigest: OTHER }), /waits for one on a{64}/],
    ['for no bundle', context(), decision({ bundleDigest: '' }), /\(none\)/],
    ['at the moment it expires', context({ now: '2026-01-02T00:00:00.000Z' }), decision(), /expired/],
    ['of one who is not an approver', context(), decision({ actor: 'mallory' }), /mallory is not an approver/],
    [
      'when no policy covers the model',
      context({ policies: [policy(['ana'], { models: ['other-*'] })] }),
      decision(),
      /no Policy covers m/,
    ],
    ['of who asked for the run', context({ requester: 'ana' }), decision(), /may not decide/],
    ['a second time', context({ accepted: [approved('ana')] }), decision(), /has decided/],
    [
      'a rejection of one who is not entitled',
      context(),
      decision({ actor: 'mallory', decision: 'reject' }),
      /not an approver/,
    ],
  ];
  it.each(cases)('%s', (_name, given, input, reason) => {
    expect(judgeDecision(given, input)).toEqual({ status: 'refused', reason: expect.stringMatching(reason) });
  });
});

describe('a decision counts', () => {
  it('towards the quorum, and settles at it', () => {
    expect(judgeDecision(context(), decision())).toMatchObject({
      status: 'accepted',
      settles: null,
      detail: '1 of 2 approvals',
    });
    expect(judgeDecision(context({ accepted: [approved('ben')] }), decision())).toMatchObject({ settles: 'approved' });
  });

  it('at once when it rejects', () => {
    expect(judgeDecision(context(), decision({ decision: 'reject' }))).toMatchObject({
      status: 'accepted',
      settles: 'rejected',
    });
  });

  it('when the requester may approve', () => {
    const policies = [policy(['ana', 'ben'], { requester_may_approve: true })];
    expect(judgeDecision(context({ requester: 'ana', policies }), decision())).toMatchObject({ status: 'accepted' });
  });

  it('no more once its approver was removed', () => {
    const given = context({ policies: [policy(['ana'])], accepted: [approved('ben')] });
    expect(countedApprovals(given)).toEqual([]);
    expect(judgeDecision(given, decision())).toMatchObject({ settles: null, detail: '1 of 2 approvals' });
  });
});

describe('policies', () => {
  it('narrow each other: only who all of them name is entitled', () => {
    const policies = [
      policy(['ana', 'ben']),
      policy(['ben', 'eve'], { models: ['m*'] }),
      policy(['zoe'], { models: ['x'] }),
    ];
    expect(entitledApprovers(policies, 'm')).toEqual(['ben']);
    expect(entitledApprovers([], 'm')).toEqual([]);
  });

  it.each([
    ['*', 'm', true],
    ['m', 'm', true],
    ['m', 'mm', false],
    ['flight-*', 'flight-delays', true],
    ['flight-*', 'flight', false],
    ['*-delays', 'flight-delays', true],
    ['a*a', 'a', false],
    ['a*b*c', 'a-b-b-c', true],
    ['a*b*c', 'a-c-b', false],
    ['m.', 'mx', false],
  ])('%s matches %s: %s', (pattern, model, expected) => {
    expect(matchesModel(pattern, model)).toBe(expected);
  });
});

describe('promotion', () => {
  const decided = { ...request({ closed: 'approved' }), accepted: [approved('ana'), approved('ben')] };

  it('has no obstacle with distinct, valid approvals of this bundle', () => {
    expect(promotionObstacle(context(decided), DIGEST)).toBeNull();
  });

  const obstacles: [string, DecisionContext, string, RegExp][] = [
    ['no request', context({ request: null }), DIGEST, /no approval request/],
    ['another bundle', context(decided), OTHER, /not b{64}/],
    [
      'a rejection',
      context({ ...decided, accepted: [...decided.accepted, { ...approved('eve'), decision: 'reject' }] }),
      DIGEST,
      /rejected/,
    ],
    ['one approver twice', context({ ...decided, accepted: [approved('ana'), approved('ana')] }), DIGEST, /1 of 2/],
    [
      'an approver removed since',
      context({ ...decided, policies: [policy(['ana'])] }),
      DIGEST,
      /1 of 2 approvals are valid now \(ana\)/,
    ],
    [
      'approvals of another bundle',
      context({ ...decided, accepted: [approved('ana'), approved('ben', OTHER)] }),
      DIGEST,
      /1 of 2/,
    ],
  ];
  it.each(obstacles)('is held up by %s', (_name, given, digest, reason) => {
    expect(promotionObstacle(given, digest)).toMatch(reason);
  });
});
