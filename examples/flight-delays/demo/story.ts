/** The story, played through the CLI, the HTTP API, Kafka and one signal. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { Kafka, logLevel } from 'kafkajs';
import type { Approval, Counts, Deployment, Run, ShownEvent, Status, Sweep, Version } from './api.ts';
import { type Flight, monthFile, readFlights } from './flights.ts';
import { CALM, copyProject, SLOW, writeDefinition } from './project.ts';
import { type CliResult, cli, type Progress, StoryError, until } from './tools.ts';
import { keepSending, noTraffic, sendOnce } from './traffic.ts';

export const MODEL = 'flight-delays';

export interface Addresses {
  readonly gateway: string;
  readonly inference: string;
  readonly temporal: string;
  readonly temporalUi: string;
  readonly kafka: readonly string[];
  readonly topicPrefix: string;
}
export interface StoryOptions {
  readonly home: string;
  /** Folder of the example. */
  readonly example: string;
  readonly addresses: Addresses;
  readonly progress: Progress;
  /** Waits for the user's own approvals. */
  readonly interactive: boolean;
}
const LABELS_PER_EVENT = 2_000;
const EVENTS_PER_BATCH = 7;
const ALERTS = 1_000;
const BEFORE_TRAINING = ['snapshot', 'features', 'tune'];

/** In another order, the same each time: however many are asked for, they are of the whole month. */
function mixed(flights: readonly Flight[]): readonly Flight[] {
  const STRIDE = 7_919;
  return Array.from({ length: flights.length }, (_, index) => flights[(index * STRIDE) % flights.length]).filter(
    (flight) => flight !== undefined,
  );
}

export class Story {
  readonly traffic = noTraffic();
  readonly kills: { part: string; at: string }[] = [];
  readonly #project: string;

  constructor(readonly options: StoryOptions) {
    this.#project = join(options.home, 'project');
  }

  get #say(): (text: string) => void {
    return (text) => this.options.progress.say(text);
  }
  async refit(...args: string[]): Promise<CliResult> {
    const result = await cli(this.options.home, args);
    if (result.code !== 0)
      throw new StoryError(
        `refit ${args.join(' ')} exited with ${result.code}: ${result.stderr.trim() || result.stdout.trim()}`,
      );
    return result;
  }
  async json<T>(...args: string[]): Promise<T> {
    return JSON.parse((await this.refit(...args, '--json')).stdout) as T;
  }
  /** Reads by the API behind the CLI, where the story asks often. */
  async read<T>(path: string): Promise<T> {
    const response = await fetch(`${this.options.addresses.gateway}/api/v1${path}`);
    if (!response.ok) throw new StoryError(`GET ${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as T;
  }
  status = (): Promise<Status> => this.read<Status>(`/models/${MODEL}`);
  runs = (): Promise<Run[]> => this.read<Run[]>(`/runs?model=${MODEL}&limit=100`);
  sweeps = (): Promise<Sweep[]> => this.read<Sweep[]>(`/models/${MODEL}/drift?limit=500`);
  versions = (): Promise<Version[]> => this.read<Version[]>(`/models/${MODEL}/versions`);
  counts = (): Promise<Counts> => this.read<Counts>('/events/counts');
  async deployments(): Promise<readonly Deployment[]> {
    return (await this.read<{ readonly deployments: readonly Deployment[] }>(`/models/${MODEL}/rollout?limit=100`))
      .deployments;
  }

  async #publishMonths(months: readonly number[]): Promise<void> {
    for (const month of months)
      await this.refit('publish', 'data', 'flights', monthFile(this.#project, month), '--partition', `2013-0${month}`);
  }

  /** Straight to the topic, as publishers of other languages do. */
  async #produce(topic: string, values: readonly { readonly key: string; readonly value: string }[]): Promise<void> {
    const { kafka, topicPrefix } = this.options.addresses;
    const producer = new Kafka({ clientId: 'demo', brokers: [...kafka], logLevel: logLevel.NOTHING }).producer({
      allowAutoTopicCreation: false,
    });
    await producer.connect();
    await producer.send({ topic: topicPrefix + topic, acks: -1, messages: [...values] });
    await producer.disconnect();
  }

  async #runAt(number: number, wanted: (run: Run) => boolean, what: string): Promise<Run> {
    const name = `${MODEL}-${String(number).padStart(6, '0')}`;
    return until(`${name} ${what}`, async () => {
      const run = (await this.runs()).find((one) => one.run === name);
      if (run && wanted(run)) return run;
      if (run?.outcome) throw new StoryError(`${name} ended ${run.outcome} before it ${what}: ${run.outcomeReason}`);
      return null;
    });
  }
  async #approval(run: string): Promise<Approval> {
    return until(
      `${run} asks for approval`,
      async () => (await this.read<Approval[]>('/approvals')).find((one) => one.run === run) ?? null,
    );
  }

  /** The approver's page, then the decision: by the CLI's update, or by a signal as Temporal's UI would send it. */
  async #approve(run: string, actor: string, via: 'update' | 'signal'): Promise<void> {
    const approval = await this.#approval(run);
    process.stderr.write(`${(await this.refit('approvals')).stdout}`);
    if (this.options.interactive) {
      this.#say(`waits for you: npx refit approve ${run} --as ana   (REFIT_HOME=${this.options.home})`);
      const approved = async () =>
        (await this.runs()).find((one) => one.run === run)?.outcome === 'approved' ? true : null;
      await until(`${run} approved`, approved, 3_600_000);
      return;
    }
    if (via === 'update') await this.refit('approve', run, '--as', actor, '--comment', 'read the page');
    else {
      const connection = await Connection.connect({ address: this.options.addresses.temporal });
      const message = { requestId: `demo-${run}`, actor, bundleDigest: approval.bundleDigest, reason: 'read the page' };
      await new Client({ connection }).workflow.getHandle(`run/${MODEL}/${run}`).signal('approve', message);
      await connection.close();
    }
    this.#say(`approved by ${actor}, via ${via}`);
  }
  async #champion(version: number): Promise<void> {
    await until(`version ${version} is champion`, async () => {
      if ((await this.status()).champion?.version === version) return true;
      const ended = (await this.deployments()).find((one) => one.toVersion === version && one.outcome !== null);
      if (ended && ended.outcome !== 'promoted')
        throw new StoryError(`the rollout of version ${version} ended ${ended.outcome}: ${ended.outcomeReason}`);
      return null;
    });
    const ready = `${this.options.addresses.inference}/v2/models/${MODEL}/ready`;
    await until(`version ${version} serves`, async () => ((await fetch(ready)).ok ? true : null));
    this.#say(`version ${version} is champion`);
  }
  get #inferUrl(): string {
    return `${this.options.addresses.inference}/v2/models/${MODEL}/infer`;
  }

  async arrivals(): Promise<void> {
    await copyProject(this.options.example, this.#project);
    await writeDefinition(this.options.example, this.#project);
    await this.refit('apply', this.#project, '--as', 'dev');
    await this.refit('pause', MODEL, '--reason', 'until the first quarter is there', '--as', 'dev');
    const at = new Date().toISOString();
    const alert = (index: number) => ({
      key: MODEL,
      value: JSON.stringify({
        specversion: '1.0',
        id: `burst-${index}`,
        source: 'demo/detector',
        type: 'dev.refit.drift.detected.v1',
        subject: MODEL,
        time: at,
        datacontenttype: 'application/json',
        data: {
          model: MODEL,
          kind: 'data',
          window: { start: at, end: new Date(Date.parse(at) + 1_000 + index).toISOString() },
          features: [],
          verdict: 'confirmed',
        },
      }),
    });
    await this.#produce(
      'drift',
      Array.from({ length: ALERTS }, (_, index) => alert(index)),
    );
    await this.#produce('data', [{ key: 'flights', value: '{"specversion": "1.0", "id": "broken' }]);
    await this.#publishMonths([1, 2, 3, 3]);
    this.#say('published January to March, one of them twice, 1,000 drift alerts, and an event that is cut off');
    await until('all of it is held', async () => {
      const { held = 0 } = (await this.counts()).counts;
      return held === ALERTS + 3 ? true : null;
    });
    await this.refit('resume', MODEL, '--as', 'dev');
    this.#say('retraining was paused while they came, and is resumed');
    const first = await this.#runAt(1, () => true, 'starts');
    this.#say(`${first.run} was started by ${first.trigger}; ${first.eventCount} events stand behind it`);
  }

  async killInTraining(): Promise<void> {
    const { stage } = await this.#runAt(1, (run) => !BEFORE_TRAINING.includes(run.stage), 'trains');
    const pidFile = join(this.options.home, 'run', 'worker.pid');
    const pid = Number((await readFile(pidFile, 'utf8')).split('\n')[0]);
    process.kill(pid, 'SIGKILL');
    this.kills.push({ part: 'worker', at: new Date().toISOString() });
    this.#say(
      `killed the worker (pid ${pid}) ${stage === 'train' ? 'in training' : `in ${stage}: training was over already`}`,
    );
    const run = await this.#runAt(1, (one) => one.stage === 'decide', 'waits for a decision');
    this.#say(`the run went on in a new worker, training attempt ${run.training?.attempt}`);
    const versions = await this.versions();
    if (versions.length !== 1) throw new StoryError(`${versions.length} versions after the kill, there must be one`);
    await this.#approve(run.run, 'ana', 'signal');
    await this.#champion(1);
  }

  async drift(): Promise<void> {
    await this.#publishMonths([4, 5, 6]);
    await until('April to June are held', async () => {
      const held = await this.read<ShownEvent[]>(`/events?model=${MODEL}&fate=held&limit=10`);
      if (held.length < 3) return null;
      this.#say(`April to June are held: ${held[0]?.fates[0]?.reason}`);
      return true;
    });
    const april = await readFlights(monthFile(this.#project, 4));
    await sendOnce(this.#inferUrl, april, 'april', this.traffic);
    this.#say(`asked for all ${april.length} flights of April`);
    const suspected = await until(
      'drift is suspected',
      async () => (await this.sweeps()).find((sweep) => sweep.verdict === 'suspected') ?? null,
    );
    this.#say(`suspected: ${suspected.reason}`);
    const refused = await until('the alert is refused', async () => {
      const events = await this.read<ShownEvent[]>(`/events?model=${MODEL}&fate=refused&limit=50`);
      return events.find((event) => event.source.startsWith('refit/sweep/')) ?? null;
    });
    this.#say(`not retraining: ${refused.fates[0]?.reason}`);
    await this.#publishOutcomes(april);
    const confirmed = await until(
      'drift is confirmed',
      async () => (await this.sweeps()).find((sweep) => sweep.verdict === 'confirmed') ?? null,
    );
    this.#say(`confirmed: ${confirmed.reason}`);
  }

  async #publishOutcomes(flights: readonly Flight[]): Promise<void> {
    const known = flights.filter((flight) => flight.late !== null);
    const time = new Date().toISOString();
    const events = [];
    for (let at = 0; at < known.length; at += LABELS_PER_EVENT) {
      const labels = known
        .slice(at, at + LABELS_PER_EVENT)
        .map((flight) => ({ id: flight.id, label: flight.late, time }));
      events.push({
        specversion: '1.0',
        id: `outcomes-${at}`,
        source: 'demo/outcomes',
        type: 'dev.refit.labels.arrived.v1',
        time,
        data: { model: MODEL, labels },
      });
    }
    const path = join(this.options.home, 'outcomes.json');
    for (let at = 0; at < events.length; at += EVENTS_PER_BATCH) {
      await writeFile(path, JSON.stringify(events.slice(at, at + EVENTS_PER_BATCH)));
      await this.refit('publish', path);
    }
    this.#say(`published ${known.length} outcomes`);
  }

  async retrain(): Promise<void> {
    const run = await this.#runAt(2, (one) => one.stage === 'decide', 'waits for a decision');
    this.#say(`${run.run} was started by ${run.trigger}; ${run.eventCount} events stand behind it`);
    const july = mixed(await readFlights(monthFile(this.#project, 7)));
    const callers = keepSending(this.#inferUrl, july, { name: 'july', rows: 20, callers: 2, counts: this.traffic });
    try {
      await this.#approve(run.run, 'ben', 'update');
      await this.#champion(2);
      for (const step of (await this.deployments())[0]?.steps ?? [])
        if (step.status === 'passed') this.#say(`${step.step}: ${step.detail}`);
    } finally {
      await callers.stop();
    }
  }

  async rollBack(): Promise<void> {
    await writeDefinition(this.options.example, this.#project, SLOW);
    await this.refit('apply', this.#project, '--as', 'dev');
    const run = await this.#runAt(3, (one) => one.stage === 'decide', 'waits for a decision');
    this.#say(
      `${run.run} was started by ${run.trigger} and passed its gates: ${run.metric?.name} ${run.metric?.value.toFixed(4)}`,
    );
    const july = await readFlights(monthFile(this.#project, 7));
    // Many rows a request show what the trees cost; one caller, so that slow answers do not slow the others down.
    const callers = keepSending(this.#inferUrl, july, {
      name: 'july-again',
      rows: 300,
      callers: 1,
      counts: this.traffic,
    });
    try {
      await this.#approve(run.run, 'ana', 'update');
      const deployment = await until('the challenger is rolled back', async () => {
        const found = (await this.deployments()).find((one) => one.toVersion === run.version);
        return found?.outcome ? found : null;
      });
      if (deployment.outcome !== 'rolled_back')
        throw new StoryError(
          `deployment ${deployment.deployment} ended ${deployment.outcome}: ${deployment.outcomeReason}`,
        );
      this.#say(`rolled back: ${deployment.outcomeReason}`);
    } finally {
      await callers.stop();
    }
  }

  async sayNo(): Promise<void> {
    await writeDefinition(this.options.example, this.#project, CALM);
    await this.refit('apply', this.#project, '--as', 'dev');
    await this.#publishMonths([7, 8, 9]);
    const run = await this.#runAt(4, (one) => one.outcome !== null, 'ends');
    if (run.outcome !== 'gate_failed' && run.outcome !== 'inconclusive')
      throw new StoryError(`${run.run} ended ${run.outcome}: ${run.outcomeReason}`);
    this.#say(`${run.run}: ${run.outcome}: ${run.outcomeReason}`);
  }

  async why(): Promise<void> {
    process.stderr.write((await this.refit('why', `${MODEL}@champion`)).stdout);
    await this.refit('audit', 'verify', MODEL);
    await until('every event is settled', async () => {
      const { counts } = await this.counts();
      return counts.held === 0 && counts.received === 0 ? true : null;
    });
  }
}
