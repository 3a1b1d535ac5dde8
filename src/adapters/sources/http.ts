/**
 * Files over HTTP(S), from hosts that the roots name. An event chooses the path, so it must not choose the machine: each redirect is judged
 * anew, and the address that was judged is the one that is connected to.
 */
import { lookup } from 'node:dns';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { DataProblem } from '../../ports/data.ts';
import { problem, requireWithin } from './address.ts';

const REDIRECTS = 5;
const SILENCE_MS = 60_000;
const TOTAL_MS = 3_600_000;
/** Answers that may pass: the arrival waits for the server. */
const PASSING = new Set([408, 425, 429]);

/** Addresses that lead to this host or to its cloud's metadata, and those that are no host's. */
const BLOCKED = new BlockList();
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const)
  BLOCKED.addSubnet(network, bits, 'ipv4');
for (const [network, bits] of [
  ['::', 127],
  ['fe80::', 10],
  ['ff00::', 8],
  ['fd00:ec2::', 32],
] as const)
  BLOCKED.addSubnet(network, bits, 'ipv6');

export function isBlocked(address: string): boolean {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return BLOCKED.check(mapped, 'ipv4');
  return BLOCKED.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}

const bare = (hostname: string): string => hostname.replace(/^\[|\]$/g, '');

/** An address as such, or localhost, in a root: then whoever runs Refit means that very machine. */
const isMeant = (hostname: string): boolean => isIP(bare(hostname)) !== 0 || hostname === 'localhost';

/**
 * Resolves a name to addresses that may be connected to: what comes of it is what the connection takes.
 * @param resolve who is asked, by default the system
 */
export const lookupWith =
  (resolve: typeof lookup): LookupFunction =>
  (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, []);
      const wrong = isMeant(hostname) ? undefined : addresses.find(({ address }) => isBlocked(address));
      if (wrong)
        return callback(
          Object.assign(new Error(`${hostname} resolves to ${wrong.address}, which is no other host`), {
            code: 'REFIT_BLOCKED',
          }),
          [],
        );
      const [first] = addresses;
      if (options.all === true || first === undefined) callback(null, addresses);
      else callback(null, first.address, first.family);
    });
  };
const checkedLookup = lookupWith(lookup);

function ask(url: URL): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = (url.protocol === 'http:' ? httpRequest : httpsRequest)(
      url,
      {
        lookup: checkedLookup,
        timeout: SILENCE_MS,
        signal: AbortSignal.timeout(TOTAL_MS),
        // A new connection each time: one that is kept was judged for another address.
        agent: false,
        headers: { 'accept-encoding': 'identity', 'user-agent': 'refit', accept: '*/*' },
      },
      resolve,
    );
    outgoing.on('timeout', () => outgoing.destroy(new Error(`${url.host} has been silent for ${SILENCE_MS / 1000} s`)));
    outgoing.on('error', reject);
    outgoing.end();
  });
}

export async function openHttp(uri: string, roots: readonly string[]): Promise<NodeJS.ReadableStream> {
  let url = new URL(uri);
  for (let hop = 0; ; hop += 1) {
    const shown = `${url.origin}${url.pathname}`;
    if (url.username !== '' || url.password !== '') throw problem(`${shown} carries a user or a password`);
    requireWithin(url.href, roots);
    let response: IncomingMessage;
    try {
      response = await ask(url);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'REFIT_BLOCKED')
        throw problem(`${shown} is not read: ${(error as Error).message}; name the address itself in REFIT_DATA_ROOTS`);
      throw error;
    }
    const status = response.statusCode ?? 0;
    if (status === 200) return response;
    response.resume();
    const { location } = response.headers;
    if (status >= 300 && status < 400 && location !== undefined && URL.canParse(location, url.href)) {
      if (hop === REDIRECTS) throw problem(`${uri} is redirected more than ${REDIRECTS} times`);
      url = new URL(location, url);
      if (url.protocol !== 'http:' && url.protocol !== 'https:')
        throw problem(`${uri} is redirected to ${url.protocol}, which is not read`);
      continue;
    }
    if (status >= 500 || PASSING.has(status)) throw new Error(`${shown} was answered ${status}`);
    throw new DataProblem('uri', `${shown} was answered ${status}: it is not there, or not for Refit`);
  }
}
