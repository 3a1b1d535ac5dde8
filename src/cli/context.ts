/** What every command gets: settings, the API, the actor. */
import { userInfo } from 'node:os';
import type { Settings } from '../settings.ts';
import { ApiClient } from './client.ts';
import { CliError, EXIT, type ExitCode } from './exit.ts';

export interface Context {
  readonly settings: Settings;
  readonly api: ApiClient;
  readonly cwd: string;
  /** Who acts: --as, else REFIT_ACTOR, else the name of the login. */
  readonly actor: (given: string | undefined) => string;
  /** Set by a command whose answer is no. */
  readonly exit: (code: ExitCode) => void;
}

export function createContext(settings: Settings, cwd: string, exit: (code: ExitCode) => void): Context {
  return {
    settings,
    api: new ApiClient(settings.url),
    cwd,
    actor: (given) => {
      const name = given ?? settings.actor ?? userInfo().username;
      if (name === '') throw new CliError(EXIT.usage, 'who acts is not known; name it with --as NAME or REFIT_ACTOR');
      return name;
    },
    exit,
  };
}
