/** Ports: is one free, and an error that names it and the setting that moves it. */
import { randomInt } from 'node:crypto';
import { connect, createServer } from 'node:net';
import { StackError } from './errors.ts';

const LOOPBACK = '127.0.0.1';
const CONNECT_TIMEOUT_MS = 1_000;

export async function isPortFree(port: number): Promise<boolean> {
  // A listener on all addresses does not always hinder one on the loopback, so both are asked: bind and connect.
  return (await canBind(port)) && !(await accepts(LOOPBACK, port));
}

export async function assertPortFree(port: number, what: string, variable: string): Promise<void> {
  if (await isPortFree(port)) return;
  throw new StackError(
    `Port ${port} for ${what} is taken by another process. End that process, or set ${variable} to a free port`,
  );
}

/** Below those that systems give to outgoing connections: such a one could take a port between its choice and its use. */
const QUIET = { first: 15_000, count: 15_000 };

/** Distinct free ports, at random, for processes that listen a while later. */
export async function quietPorts(count: number): Promise<number[]> {
  const found = new Set<number>();
  while (found.size < count) {
    const port = QUIET.first + randomInt(QUIET.count);
    if (await isPortFree(port)) found.add(port);
  }
  return [...found];
}

export function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: CONNECT_TIMEOUT_MS });
    const answer = (open: boolean) => {
      socket.destroy();
      resolve(open);
    };
    socket.once('connect', () => answer(true));
    socket.once('timeout', () => answer(false));
    socket.once('error', () => answer(false));
  });
}

async function canBind(port: number): Promise<boolean> {
  try {
    const server = await listen(port);
    await new Promise((resolve) => server.close(resolve));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false;
    throw error;
  }
}

function listen(port: number): Promise<ReturnType<typeof createServer>> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(port, LOOPBACK, () => resolve(server));
  });
}
