/** REFIT_DATA_ROOTS: folders and addresses, separated as in PATH. */
import { delimiter, resolve } from 'node:path';
import { SettingsError } from './errors.ts';
import { readText } from './read.ts';

const VARIABLE = 'REFIT_DATA_ROOTS';
/** An address up to the next separator; a colon before a port or the slashes separates nothing. */
const ADDRESS = /^(?:s3|https?):\/\/[^/:,]*(?::\d+(?=[/:]|$))?[^:]*/i;

function addressRoot(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || url.hostname === '' || url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    throw new SettingsError(
      `${VARIABLE} has an address that is none to read below; write s3://BUCKET/PREFIX or https://HOST/PATH, without a user or a query`,
    );
  return text.replace(/\/+$/, '');
}

export function readDataRoots(env: NodeJS.ProcessEnv, cwd: string): readonly string[] {
  const roots: string[] = [];
  for (let rest = readText(env, VARIABLE) ?? ''; rest !== ''; ) {
    const [address] = ADDRESS.exec(rest) ?? [];
    const end = rest.indexOf(delimiter);
    const text = address ?? (end === -1 ? rest : rest.slice(0, end));
    if (address !== undefined) roots.push(addressRoot(address));
    else if (text !== '') roots.push(resolve(cwd, text));
    rest = rest.slice(text.length).replace(delimiter, '');
  }
  return roots;
}
