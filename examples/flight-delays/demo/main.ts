/** The demo: starts a stack of its own, plays the story, lets the checker recompute the report, stops the stack. */
import { existsSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Table from 'cli-table3';
import { check } from './checker.ts';
import { readTopics } from './evidence.ts';
import { monthFile, readFlights } from './flights.ts';
import { loggedPredictions } from './gain.ts';
import { eventCounts, gainOf, makeReport, type Report } from './report.ts';
import { type Addresses, Story } from './story.ts';
import { cli, Progress, ROOT, StoryError } from './tools.ts';

const known = ['--interactive', '--keep', '--help'];
const flags = process.argv.slice(2);
const unknown = flags.filter((flag) => !known.includes(flag));
if (unknown.length > 0 || flags.includes('--help')) {
  process.stderr.write(
    `npm run demo -- [--interactive] [--keep]\n  --interactive  waits for your own approvals\n  --keep         leaves the stack up\n`,
  );
  process.exit(unknown.length > 0 ? 2 : 0);
}

const home = join(ROOT, '.refit', 'demo');
const example = join(ROOT, 'examples', 'flight-delays');
const port = (name: string, fallback: number): number => Number(process.env[name] ?? fallback);
const addresses: Addresses = {
  gateway: process.env.REFIT_URL ?? `http://127.0.0.1:${port('REFIT_GATEWAY_PORT', 8090)}`,
  inference: `http://127.0.0.1:${port('REFIT_SERVE_PORT', 8080)}`,
  temporal: process.env.TEMPORAL_ADDRESS ?? `127.0.0.1:${port('REFIT_TEMPORAL_PORT', 7233)}`,
  temporalUi: `http://127.0.0.1:${port('REFIT_TEMPORAL_UI_PORT', 8233)}`,
  kafka: (process.env.KAFKA_BROKERS ?? `127.0.0.1:${port('REFIT_KAFKA_PORT', 9092)}`).split(','),
  topicPrefix: process.env.REFIT_TOPIC_PREFIX ?? 'refit.',
};
const progress = new Progress();
const story = new Story({ home, example, addresses, progress, interactive: flags.includes('--interactive') });

const LINES = { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' };

function printSummary(report: Report): void {
  const runs = new Table({
    head: ['run', 'started by', 'events', 'metric', 'outcome', 'seconds'],
    style: { head: [], border: [] },
    chars: LINES,
  });
  for (const run of report.runs)
    runs.push([
      run.run,
      run.trigger,
      run.eventIds.length,
      run.metric ? `${run.metric.name} ${run.metric.value.toFixed(4)}` : '-',
      run.outcome ?? '-',
      run.seconds.toFixed(1),
    ]);
  const versions = new Table({
    head: ['version', 'role', 'approved by', 'answers to callers'],
    style: { head: [], border: [] },
    chars: LINES,
  });
  for (const version of report.versions)
    versions.push([
      version.version,
      version.role,
      version.approvedBy.map((name, index) => `${name} via ${version.via[index]}`).join(', '),
      report.predictions.byVersion[String(version.version)] ?? 0,
    ]);
  const { events, predictions, gain } = report;
  process.stdout.write(`\n${runs.toString()}\n${versions.toString()}\n`);
  process.stdout.write(
    `${events.published} deliveries: ${events.acted_on} acted on, ${events.coalesced} coalesced, ${events.duplicate} duplicate, ${events.refused} refused, ${events.ignored} ignored, ${events.dead_lettered} dead-lettered\n`,
  );
  process.stdout.write(
    `${predictions.sent} predictions, ${predictions.failed} failed; ${report.rollbacks.length} rolled back; the worker killed ${report.kills.length} time(s)\n`,
  );
  process.stdout.write(`report ${join(home, 'report.json')}\nTemporal's UI ${report.temporalUi}\n`);
  const triggers = report.verdicts.filter((one) => one.verdict !== 'stable').length;
  const worth = report.runs.filter((run) => run.outcome === 'approved' && run.trigger === 'drift').length;
  process.stdout.write(
    `Retraining gained ${gain.value.toFixed(4)} ${gain.metric} on July over leaving the model alone; of ${triggers} windows with drift ${worth} was worth a retraining.\n`,
  );
}

/** Sweeps go on while this reads: a report that an event overtook is made anew. */
async function confirmedReport(
  setupSeconds: number,
): Promise<{ readonly report: Omit<Report, 'ok'>; readonly problems: readonly string[] }> {
  const july = await readFlights(monthFile(example, 7));
  const gain = gainOf(loggedPredictions(await readTopics(addresses, ['predictions'])), july);
  for (let attempt = 1; ; attempt += 1) {
    const events = await eventCounts(story);
    const report = await makeReport(story, {
      seconds: progress.seconds,
      setupSeconds,
      steps: progress.steps,
      gain,
      events,
    });
    const problems = await check(report, addresses, home);
    if (problems.length === 0 || attempt === 5) return { report, problems };
    await sleep(500);
  }
}

async function play(): Promise<boolean> {
  const { step } = { step: progress.step.bind(progress) };
  await step('The stack starts', async () => {
    if (existsSync(home)) {
      await cli(home, ['down']);
      await rm(home, { recursive: true, force: true });
    }
    await story.refit('up', '--detach');
    progress.say(`Temporal's UI ${addresses.temporalUi}`);
  });
  await step('January to March arrive', () => story.arrivals());
  await step('The worker is killed in training', () => story.killInTraining());
  await step('April drifts', () => story.drift());
  await step('A better model is rolled out step by step', () => story.retrain());
  await step('A slow model is rolled back', () => story.rollBack());
  await step('September brings nothing better', () => story.sayNo());
  await step('Why this model serves', () => story.why());
  const { report, problems } = await step('The checker recomputes the report', () =>
    confirmedReport(Number(process.env.REFIT_DEMO_SETUP_SECONDS ?? 0)),
  );
  const whole: Report = { ok: problems.length === 0, ...report, seconds: progress.seconds, steps: progress.steps };
  await writeFile(join(home, 'report.json'), `${JSON.stringify(whole, null, 2)}\n`);
  printSummary(whole);
  for (const problem of problems) process.stderr.write(`not confirmed: ${problem}\n`);
  for (const problem of story.traffic.problems) process.stderr.write(`a caller saw: ${problem}\n`);
  return whole.ok;
}

let ok = false;
try {
  ok = await play();
} catch (error) {
  process.stderr.write(
    `\nThe demo stopped: ${error instanceof StoryError ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error)}\nLogs are in ${join(home, 'logs')}.\n`,
  );
} finally {
  if (!flags.includes('--keep')) await cli(home, ['down']);
  else process.stderr.write(`The stack is left up; REFIT_HOME=${home} npx refit down stops it.\n`);
}
process.exit(ok ? 0 : 1);
