/** refit data: what can be asked of datasets. Each subcommand is a file in src/cli/data/. */
import type { Command } from '@commander-js/extra-typings';
import type { Context } from '../context.ts';
import { addCheck } from '../data/check.ts';
import { addErase } from '../data/erase.ts';
import { addProfile } from '../data/profile.ts';
import { addVersions } from '../data/versions.ts';

/** A subcommand of `refit data`. */
type Add = (data: Command, context: Context) => void;

const SUBCOMMANDS: readonly Add[] = [addCheck, addProfile, addVersions, addErase];

export function dataCommands(program: Command, context: Context): void {
  const data = program.command('data').description('datasets: their checks, profiles and versions');
  for (const add of SUBCOMMANDS) add(data, context);
}
