/** B, C and F: runs, decisions, deployments, plans and champions, from the rows of the registry in the order in which they were written. */
import { artifact, type Evidence, number, type Row, text } from './evidence.ts';
import type { Tally } from './report.ts';

interface Entry {
  readonly version: number;
  readonly role: string;
  readonly weight: number;
}

export async function checkDeployments(evidence: Evidence, tally: Tally): Promise<void> {
  checkSingleFlight(evidence, tally);
  checkNumbers(evidence, tally);
  checkDecisions(evidence, tally);
  await checkChampions(evidence, tally);
  checkTold(evidence, tally);
}

/** By the audit chain: a run is opened only after the one before it was finished. */
function checkSingleFlight(evidence: Evidence, tally: Tally): void {
  const open = new Map<string, string>();
  const rows = evidence.rows(
    "SELECT model, action, body FROM audit WHERE action IN ('run.opened', 'run.finished') ORDER BY model, sequence",
  );
  for (const row of rows) {
    const model = text(row, 'model');
    const { run } = JSON.parse(text(row, 'body')) as { readonly run: string };
    if (row.action === 'run.opened') {
      tally.check('B', !open.has(model), `${run} was opened while ${open.get(model)} was under way`);
      open.set(model, run);
    } else {
      tally.check('B', open.get(model) === run, `${run} was finished, under way was ${open.get(model) ?? 'none'}`);
      open.delete(model);
    }
  }
  const audited = new Set(
    rows
      .filter((row) => row.action === 'run.opened')
      .map((row) => (JSON.parse(text(row, 'body')) as { run: string }).run),
  );
  for (const row of evidence.rows('SELECT run FROM runs'))
    tally.check('D', audited.has(text(row, 'run')), `${text(row, 'run')} has no audit row`);
}

function checkNumbers(evidence: Evidence, tally: Tally): void {
  const count = new Map<string, number>();
  for (const table of ['runs', 'versions', 'deployments']) {
    const column = { runs: 'number', versions: 'version', deployments: 'deployment' }[table] ?? '';
    for (const row of evidence.rows(`SELECT model, ${column} AS number FROM ${table} ORDER BY model, rowid`)) {
      const key = `${table} of ${text(row, 'model')}`;
      const next = (count.get(key) ?? 0) + 1;
      tally.check(
        'B',
        number(row, 'number') === next,
        `${key}: number ${number(row, 'number')} came as number ${next}`,
      );
      count.set(key, next);
    }
  }
  const last = new Map<string, number>();
  for (const row of evidence.rows('SELECT model, deployment, revision FROM plans ORDER BY model, rowid')) {
    const model = text(row, 'model');
    const value = number(row, 'deployment') * 1e6 + number(row, 'revision');
    tally.check(
      'B',
      value > (last.get(model) ?? 0),
      `${model}: plan ${number(row, 'deployment')}.${number(row, 'revision')} was written after a newer one`,
    );
    last.set(model, value);
  }
  const deployed = new Map<string, number>();
  for (const row of evidence.rows("SELECT run FROM deployments WHERE kind = 'rollout'"))
    deployed.set(text(row, 'run'), (deployed.get(text(row, 'run')) ?? 0) + 1);
  for (const row of evidence.rows('SELECT run, outcome FROM runs WHERE outcome IS NOT NULL')) {
    const many = deployed.get(text(row, 'run')) ?? 0;
    const expected = row.outcome === 'approved' ? 1 : 0;
    tally.check('B', many === expected, `${text(row, 'run')} is ${text(row, 'outcome')} and has ${many} deployments`);
  }
  for (const row of evidence.rows('SELECT run, count(*) AS n FROM versions GROUP BY run'))
    tally.check('B', row.n === 1, `${text(row, 'run')} has ${row.n} versions`);
}

/** Who may approve a model at a time, by the log of who applied the policies; null while one is being changed. */
function entitled(evidence: Evidence, model: string, at: string): readonly string[] | null {
  let current: readonly string[] | null = ['ana', 'ben', 'eve'];
  for (const line of evidence.people) {
    const policy = line.policy as { readonly model: string; readonly approvers: readonly string[] } | undefined;
    if (policy?.model !== model) continue;
    if (typeof line.from === 'string' && line.from <= at) current = null;
    if (typeof line.since === 'string' && line.since <= at) current = policy.approvers;
  }
  return current;
}

function checkDecisions(evidence: Evidence, tally: Tally): void {
  const runs = new Map(evidence.rows('SELECT * FROM runs').map((row) => [text(row, 'run'), row]));
  const requests = new Map(evidence.rows('SELECT * FROM approvals').map((row) => [text(row, 'run'), row]));
  const versions = new Map(evidence.rows('SELECT * FROM versions').map((row) => [text(row, 'run'), row]));
  const accepted = new Map<string, Row[]>();
  for (const row of evidence.rows('SELECT * FROM decisions ORDER BY seq')) {
    const run = text(row, 'run');
    if ((JSON.parse(text(row, 'verdict')) as { status: string }).status !== 'accepted') continue;
    const before = accepted.get(run) ?? [];
    const who = text(row, 'actor');
    const at = text(row, 'at');
    const request = requests.get(run);
    tally.check(
      'F',
      request?.bundle_digest === row.bundle_digest,
      `${run}: ${who}'s decision for another bundle was accepted`,
    );
    tally.check(
      'F',
      request !== undefined && at < text(request, 'expires_at'),
      `${run}: ${who}'s decision was accepted after its time`,
    );
    tally.check('F', !before.some((one) => one.actor === who), `${run}: a second decision of ${who} was accepted`);
    tally.check('F', runs.get(run)?.requester !== who, `${run}: ${who} asked for it and decided on it`);
    const may = entitled(evidence, text(runs.get(run) ?? {}, 'model'), at);
    if (may) tally.check('F', may.includes(who), `${run}: ${who} may not decide, and the decision was accepted`);
    accepted.set(run, [...before, row]);
  }
  for (const [run, row] of runs) {
    if (row.outcome !== 'approved') continue;
    const mine = accepted.get(run) ?? [];
    const at = text(mine.at(-1) ?? {}, 'at');
    const may = entitled(evidence, text(row, 'model'), at);
    const valid = new Set(
      mine
        .filter((one) => one.decision === 'approve' && (may === null || may.includes(text(one, 'actor'))))
        .map((one) => one.actor),
    );
    const request = requests.get(run);
    tally.check(
      'F',
      valid.size >= number(request ?? {}, 'required'),
      `${run} is approved by ${[...valid].join(', ') || 'nobody'} of ${request?.required} that are needed`,
    );
    tally.check('F', !mine.some((one) => one.decision === 'reject'), `${run} is approved, and was rejected`);
    tally.check(
      'F',
      versions.get(run)?.bundle_digest === request?.bundle_digest,
      `${run}: the decision is for another bundle than the version has`,
    );
  }
  for (const row of evidence.rows(
    'SELECT d.*, v.promoted_at FROM champions c JOIN deployments d ON d.model = c.model AND d.deployment = c.deployment JOIN versions v ON v.model = c.model AND v.version = c.version',
  )) {
    const what = `${text(row, 'model')} deployment ${number(row, 'deployment')}`;
    if (row.kind === 'rollback') continue;
    tally.check(
      'F',
      runs.get(text(row, 'run'))?.outcome === 'approved',
      `${what} was promoted; ${text(row, 'run')} is not approved`,
    );
    tally.check(
      'F',
      versions.get(text(row, 'run'))?.version === row.to_version,
      `${what} promoted another version than ${text(row, 'run')} made`,
    );
    const decided = (accepted.get(text(row, 'run')) ?? []).map((one) => text(one, 'at'));
    tally.check(
      'F',
      decided.some((at) => at <= text(row, 'promoted_at')),
      `${what} was promoted before it was decided`,
    );
  }
}

async function checkChampions(evidence: Evidence, tally: Tally): Promise<void> {
  const plans = new Map<string, Row>();
  for (const row of evidence.rows('SELECT * FROM plans ORDER BY deployment, revision'))
    plans.set(text(row, 'model'), row);
  const history = new Map<string, Row[]>();
  for (const row of evidence.rows('SELECT * FROM champions ORDER BY seq'))
    history.set(text(row, 'model'), [...(history.get(text(row, 'model')) ?? []), row]);
  for (const [model, rows] of history) {
    const numbers = rows.map((row) => number(row, 'deployment'));
    tally.check(
      'B',
      numbers.every((one, at) => at === 0 || one > (numbers[at - 1] ?? 0)),
      `${model}: champions by deployments ${numbers.join(', ')}: an older one came after a newer one`,
    );
    const last = rows.at(-1);
    const [champion, ...others] = evidence.rows(
      `SELECT * FROM versions WHERE model = '${model}' AND role = 'champion'`,
    );
    tally.check(
      'C',
      champion !== undefined && others.length === 0,
      `${model} has ${others.length + (champion ? 1 : 0)} champions`,
    );
    if (!champion || !last) continue;
    const version = number(champion, 'version');
    tally.check(
      'C',
      version === number(last, 'version'),
      `${model}@${version} is champion; last promoted was version ${number(last, 'version')}`,
    );
    const plan = plans.get(model);
    const entries = plan ? (JSON.parse(text(plan, 'plan')) as { readonly entries: readonly Entry[] }).entries : [];
    const serves = entries.find((entry) => entry.role === 'champion');
    tally.check(
      'C',
      serves?.version === version && serves.weight === 1,
      `${model}: the plan in force serves ${JSON.stringify(entries)}, champion is version ${version}`,
    );
    checkBundle(evidence, tally, model, champion);
    if (evidence.where.serve !== null) await checkServed(evidence.where.serve, tally, model, version);
  }
  for (const row of evidence.rows(
    "SELECT model, deployment, outcome, to_version FROM deployments WHERE outcome = 'promoted'",
  )) {
    const mine = history.get(text(row, 'model'))?.filter((one) => one.deployment === row.deployment) ?? [];
    tally.check(
      'C',
      mine.length === 1 && mine[0]?.version === row.to_version,
      `deployment ${number(row, 'deployment')} of ${text(row, 'model')} is promoted, and made ${mine.length} champions`,
    );
  }
}

function checkBundle(evidence: Evidence, tally: Tally, model: string, champion: Row): void {
  const { home } = evidence.where;
  const bundle = artifact(home, text(champion, 'bundle_digest'));
  tally.check(
    'C',
    typeof bundle !== 'string',
    `the bundle of ${model}@${number(champion, 'version')}: ${String(bundle)}`,
  );
  if (typeof bundle === 'string') return;
  const named = JSON.parse(bundle.toString('utf8')) as Record<string, string>;
  const run = evidence.rows(`SELECT onnx FROM runs WHERE run = '${text(champion, 'run')}'`)[0];
  tally.check('C', run?.onnx === named.onnx, `${model}: the champion's ONNX file is not the one that its run trained`);
  for (const name of ['onnx', 'featuresSql']) {
    const bytes = artifact(home, named[name] ?? '');
    tally.check('C', typeof bytes !== 'string', `${name} of ${model}@${number(champion, 'version')}: ${String(bytes)}`);
  }
}

/** The server has the champion loaded, and answers with it. */
async function checkServed(url: string, tally: Tally, model: string, version: number): Promise<void> {
  const body = { id: 'oracle', inputs: [{ name: 'x', datatype: 'FP64', shape: [2], data: [1, 2.5] }] };
  const deadlineMs = Date.now() + 15_000;
  let said = 'no answer';
  for (;;) {
    try {
      const response = await fetch(`${url}/v2/models/${model}/infer`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      said = await response.text();
      const answer = JSON.parse(said) as { model_version?: string; outputs?: { data: number[] }[] };
      const right = answer.model_version === String(version) && answer.outputs?.[0]?.data.join() === '3,6';
      if (right || Date.now() > deadlineMs) {
        tally.check('C', right, `${model}@${version} is champion; the server answers ${said.slice(0, 300)}`);
        return;
      }
    } catch (error) {
      said = String(error);
      if (Date.now() > deadlineMs) {
        tally.check('C', false, `${model}@${version} is champion; the server: ${said}`);
        return;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

/** What others were told by lifecycle events is what happened, no more and no less. */
function checkTold(evidence: Evidence, tally: Tally): void {
  const told = new Map<string, string>();
  for (const record of evidence.records.lifecycle ?? []) {
    const event = JSON.parse(String(record.value)) as { readonly id: string; readonly source: string };
    const key = `${event.source} ${event.id}`;
    const body = JSON.stringify(event);
    tally.check('A', (told.get(key) ?? body) === body, `lifecycle event ${key} was told twice, and differently`);
    told.set(key, body);
  }
  const expect = (id: string, model: string): void => {
    const key = `refit/${model} ${id}`;
    tally.check('A', told.has(key), `nobody was told of ${key}`);
  };
  for (const row of evidence.rows('SELECT run, model, outcome FROM runs')) {
    expect(`run.started:${text(row, 'run')}`, text(row, 'model'));
    if (row.outcome !== null) expect(`run.finished:${text(row, 'run')}`, text(row, 'model'));
  }
  for (const row of evidence.rows('SELECT model, version FROM versions'))
    expect(`version.registered:${text(row, 'model')}:${number(row, 'version')}`, text(row, 'model'));
  for (const row of evidence.rows(
    'SELECT c.model, c.deployment, d.kind FROM champions c JOIN deployments d ON d.model = c.model AND d.deployment = c.deployment',
  ))
    expect(
      `${row.kind === 'rollback' ? 'version.rolledback' : 'version.promoted'}:${text(row, 'model')}:${number(row, 'deployment')}`,
      text(row, 'model'),
    );
}
