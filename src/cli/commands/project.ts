/** refit validate, apply, diff: model projects. */
import { resolve } from 'node:path';
import type { Command } from '@commander-js/extra-typings';
import { schedules } from '../../adapters/schedule.ts';
import type { ApplyAnswer } from '../../gateway/apply.ts';
import { checkProject, type Known, type ProjectFiles } from '../../project/check.ts';
import type { Problem } from '../../project/documents.ts';
import { gitCommitOf, ProjectFolderError, readProjectFolder } from '../../project/folder.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../exit.ts';
import { AS_OPTION, JSON_OPTION, print, printJson, say, table } from '../output.ts';

const NOTHING_KNOWN: Known = { datasets: new Map(), policies: [] };

const problemLine = (problem: Problem): string =>
  `${problem.file}:${problem.line}:${problem.column}: ${problem.severity}: ${problem.message}`;

async function filesOf(folder: string): Promise<ProjectFiles> {
  try {
    return await readProjectFolder(folder);
  } catch (error) {
    if (error instanceof ProjectFolderError) throw new CliError(EXIT.usage, error.message);
    throw error;
  }
}

function problemsIn(error: unknown): readonly Problem[] | undefined {
  if (!(error instanceof CliError)) return undefined;
  const { details } = error;
  if (details === null || typeof details !== 'object' || !('problems' in details)) return undefined;
  return details.problems as readonly Problem[];
}

async function send(
  { api, actor }: Context,
  folder: string,
  as: string | undefined,
  dryRun: boolean,
): Promise<ApplyAnswer> {
  const files = await filesOf(folder);
  try {
    return await api.post<ApplyAnswer>('/api/v1/apply', {
      files: Object.fromEntries([...files].map(([path, bytes]) => [path, Buffer.from(bytes).toString('base64')])),
      root: folder,
      gitCommit: await gitCommitOf(folder),
      actor: actor(as),
      dryRun,
    });
  } catch (error) {
    const problems = problemsIn(error);
    if (!problems) throw error;
    for (const problem of problems) say(problemLine(problem));
    const count = problems.filter((one) => one.severity === 'error').length;
    throw new CliError(EXIT.usage, `${folder}: ${count} problems; nothing was registered`);
  }
}

export function projectCommands(program: Command, context: Context): void {
  const { cwd, exit } = context;
  program
    .command('validate')
    .description('check a model project without any service')
    .argument('<dir>', 'folder of the project')
    .option(...JSON_OPTION)
    .addHelpText('after', '\nExample:\n  refit validate examples/flight-delays\n')
    .action(async (dir, { json }) => {
      const { createDataEngine } = await import('../../adapters/duckdb/engine.ts');
      const project = await checkProject(
        await filesOf(resolve(cwd, dir)),
        NOTHING_KNOWN,
        createDataEngine(),
        schedules,
      );
      const documents = [...project.datasets, ...project.models, ...project.policies];
      if (json) printJson(project.problems);
      else for (const problem of project.problems) say(problemLine(problem));
      if (project.problems.some((problem) => problem.severity === 'error')) exit(EXIT.usage);
      else say(`${dir} is valid: ${documents.map((one) => `${one.kind} ${one.name}`).join(', ')}`);
    });
  for (const verb of ['apply', 'diff'] as const) {
    program
      .command(verb)
      .description(verb === 'apply' ? 'register a model project' : 'compare a model project with what is registered')
      .argument('<dir>', 'folder of the project')
      .option(...AS_OPTION)
      .option('--dry-run', 'only say what would change')
      .option(...JSON_OPTION)
      .addHelpText('after', `\nExample:\n  refit ${verb} examples/flight-delays\n`)
      .action(async (dir, { as, dryRun, json }) => {
        const answer = await send(context, resolve(cwd, dir), as, verb === 'diff' || dryRun === true);
        for (const problem of answer.problems) say(problemLine(problem));
        const rows = answer.changes.map((change) => [change.kind, change.name, change.status]);
        if (json) printJson(answer);
        else print(table(['kind', 'name', 'status'], rows));
        if (verb === 'diff' && answer.changes.some((change) => change.status !== 'unchanged')) exit(EXIT.no);
      });
  }
}
