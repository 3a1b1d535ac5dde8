/** `refit doctor`: what is there, what is missing, and how to mend it. Looks only; fetches and changes nothing. */
import { access, constants, mkdir } from 'node:fs/promises';
import type { PortSettings, Settings } from '../settings/types.ts';
import { PORT_VARIABLES } from '../settings.ts';
import { readLivePid } from './child.ts';
import { hostsDetail } from './hosts.ts';
import { isPortFree } from './ports.ts';
import { checkKafka, checkTemporal } from './probes.ts';
import { cacheRoot } from './setup/cache.ts';
import { dockerAnswers, findKafka } from './setup/kafka.ts';
import { haveJava, haveMaven } from './setup/maven.ts';
import { findBasePython, findPython } from './setup/python.ts';
import { findOnPath } from './setup/run.ts';
import { findTemporal } from './setup/temporal.ts';

export interface DoctorCheck {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
  /** What to do about it; only where it is not ok. */
  readonly mend?: string;
}

const MINIMUM_NODE: readonly [number, number] = [20, 20];

/** What only an adapter can ask: each tries whether it can be used, and says what it found. */
export interface Askable {
  readonly registry: () => Promise<string>;
  readonly store: () => Promise<string>;
}

export async function doctor(
  settings: Settings,
  ask: Askable,
  env: NodeJS.ProcessEnv = process.env,
): Promise<DoctorCheck[]> {
  const isUp = (await readLivePid(settings.home, 'supervisor')) !== undefined;
  return [
    checkNode(),
    await checkHome(settings),
    await attempt('python', 'install Python 3.11 or newer, or set REFIT_PYTHON', () => checkPython(settings, env)),
    await attempt('temporal server', 'set TEMPORAL_ADDRESS or TEMPORAL_CLI_PATH', () => temporalTool(settings, env)),
    await attempt('kafka server', 'set KAFKA_BROKERS, or install Java and Maven', () => kafkaTool(settings, env)),
    ...(isUp ? [] : await checkPorts(settings)),
    await checkTemporalService(settings, isUp),
    await checkKafkaService(settings, isUp),
    await attempt('registry', 'check REFIT_DATABASE_URL, and that the server lets this user in', async () =>
      result('registry', true, await ask.registry()),
    ),
    await attempt('artifact store', 'check REFIT_ARTIFACTS_URL, and the AWS_… settings where it is on S3', async () =>
      result('artifact store', true, await ask.store()),
    ),
    result('hosts', true, hostsDetail(settings)),
  ];
}

function checkNode(): DoctorCheck {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const ok = major > MINIMUM_NODE[0] || (major === MINIMUM_NODE[0] && minor >= MINIMUM_NODE[1]);
  const detail = `Node ${process.versions.node}`;
  return result('node', ok, detail, `install Node ${MINIMUM_NODE.join('.')} or newer`);
}

async function checkHome({ home }: Settings): Promise<DoctorCheck> {
  try {
    await mkdir(home, { recursive: true });
    await access(home, constants.W_OK);
    return result('home', true, `${home} is writable`);
  } catch (error) {
    return result('home', false, `${home}: ${text(error)}`, 'make it writable, or set REFIT_HOME to another folder');
  }
}

async function checkPython(settings: Settings, env: NodeJS.ProcessEnv): Promise<DoctorCheck> {
  const found = await findPython(settings, { env, cacheRoot: cacheRoot(env) });
  if (found !== undefined) return result('python', true, found.detail);
  const base = await findBasePython(env);
  if (base !== undefined)
    return result('python', true, `${base.path} (${base.version}); refit up makes an environment`);
  return result('python', false, 'no Python 3.11 or newer', 'install one (with venv), or set REFIT_PYTHON');
}

async function temporalTool(settings: Settings, env: NodeJS.ProcessEnv): Promise<DoctorCheck> {
  const found = findTemporal(settings, { env, cacheRoot: cacheRoot(env) });
  const name = 'temporal server';
  if (found !== undefined) return result(name, true, found.detail);
  const go = findOnPath('go', env) !== undefined ? ', else go install' : '; go is not there';
  return result(name, true, `not there yet; refit up tries the SDK's download${go}`);
}

async function kafkaTool(settings: Settings, env: NodeJS.ProcessEnv): Promise<DoctorCheck> {
  const name = 'kafka server';
  const found = await findKafka(settings, { env, cacheRoot: cacheRoot(env) });
  if (found !== undefined) return result(name, true, found.detail);
  if (haveMaven(env)) return result(name, true, 'not there yet; refit up fetches it with Maven');
  const java = haveJava(env) ? 'Maven is missing' : 'Java is missing';
  const docker = (await dockerAnswers(env)) ? '' : ', and no Docker engine with compose answers';
  const mend = 'set KAFKA_BROKERS, start a Docker engine with compose, or install Java 17 and Maven';
  return result(name, false, `${java}${docker}`, mend);
}

/** Only while the stack is down: up, it is the stack that holds them. */
async function checkPorts(settings: Settings): Promise<DoctorCheck[]> {
  const ours = (Object.keys(PORT_VARIABLES) as (keyof PortSettings)[]).filter(
    (name) =>
      !(settings.temporal.addressGiven && name.startsWith('temporal')) &&
      !(settings.kafka.brokersGiven && name === 'kafka'),
  );
  return Promise.all(
    ours.map(async (name) => {
      const port = settings.ports[name];
      const free = await isPortFree(port);
      const mend = `end the process that holds it, or set ${PORT_VARIABLES[name]} to a free port`;
      return result(`port ${name}`, free, `${port} is ${free ? 'free' : 'taken'}`, mend);
    }),
  );
}

async function checkTemporalService({ temporal }: Settings, isUp: boolean): Promise<DoctorCheck> {
  const name = 'temporal service';
  if (!isUp && !temporal.addressGiven) return result(name, true, 'not started; refit up starts it');
  try {
    const missing = await checkTemporal(temporal);
    const detail = `${temporal.address} answers`;
    if (missing.length === 0) return result(name, true, `${detail}, search attributes are registered`);
    return result(
      name,
      false,
      `${detail}, but these search attributes are missing or of another type: ${missing.join(', ')}`,
      `refit up registers them, or an administrator: temporal operator search-attribute create --name NAME --type TYPE`,
    );
  } catch (error) {
    const mend = temporal.addressGiven ? 'check TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE' : 'see logs/temporal.log';
    return result(name, false, `${temporal.address}: ${text(error)}`, mend);
  }
}

async function checkKafkaService({ kafka }: Settings, isUp: boolean): Promise<DoctorCheck> {
  const name = 'kafka service';
  if (!isUp && !kafka.brokersGiven) return result(name, true, 'not started; refit up starts it');
  const where = kafka.brokers.join(', ');
  try {
    const brokers = await checkKafka(kafka);
    return result(name, true, `${where} answers with ${brokers} ${brokers === 1 ? 'broker' : 'brokers'}`);
  } catch (error) {
    const mend = kafka.brokersGiven ? 'check KAFKA_BROKERS, KAFKA_SASL_* and KAFKA_SSL*' : 'see logs/kafka.log';
    return result(name, false, `${where}: ${text(error)}`, mend);
  }
}

/** A check that fails to run is a failed check, not the end of the list. */
async function attempt(name: string, mend: string, check: () => Promise<DoctorCheck>): Promise<DoctorCheck> {
  try {
    return await check();
  } catch (error) {
    return result(name, false, text(error), mend);
  }
}

function result(name: string, ok: boolean, detail: string, mend?: string): DoctorCheck {
  return { name, ok, detail, ...(ok || mend === undefined ? {} : { mend }) };
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
