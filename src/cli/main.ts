/** The entry of `refit`: wires the commands, turns errors into messages and exit codes. process.exit lives here only. */
import { Command, CommanderError, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { SetupError, StackError } from '../local/index.ts';
import { parseSettings, SettingsError } from '../settings.ts';
import { answerCommands } from './commands/answers.ts';
import { approvalCommands } from './commands/approvals.ts';
import { batchCommands } from './commands/batch.ts';
import { dataCommands } from './commands/data.ts';
import { driftCommands } from './commands/drift.ts';
import { eventCommands } from './commands/events.ts';
import { modelCommands } from './commands/models.ts';
import { partCommands } from './commands/parts.ts';
import { policyCommands } from './commands/policy.ts';
import { predictCommands } from './commands/predict.ts';
import { projectCommands } from './commands/project.ts';
import { publishCommands } from './commands/publish.ts';
import { rolloutCommands } from './commands/rollout.ts';
import { runCommands } from './commands/runs.ts';
import { stackCommands } from './commands/stack.ts';
import { createContext } from './context.ts';
import { CliError, EXIT, type ExitCode } from './exit.ts';
import { say } from './output.ts';

function codeOf(error: unknown): ExitCode {
  if (error instanceof CliError) return error.code;
  if (error instanceof SettingsError) return EXIT.usage;
  if (error instanceof SetupError || error instanceof StackError) return EXIT.no;
  return EXIT.no;
}

const COMMANDS = [
  stackCommands,
  partCommands,
  projectCommands,
  publishCommands,
  dataCommands,
  modelCommands,
  runCommands,
  approvalCommands,
  rolloutCommands,
  driftCommands,
  eventCommands,
  answerCommands,
  policyCommands,
  predictCommands,
  batchCommands,
];

async function main(argv: readonly string[]): Promise<ExitCode> {
  let code: ExitCode = EXIT.done;
  const program = new Command('refit')
    .description('Keeps deployed machine-learning models fit: event-driven retraining on durable workflows.')
    .version('0.1.0')
    .exitOverride()
    .showHelpAfterError('(add --help for what is possible)')
    .configureHelp({ showGlobalOptions: false });
  try {
    const context = createContext(parseSettings(process.env, process.cwd()), process.cwd(), (next) => {
      code = next;
    });
    for (const add of COMMANDS) add(program, context);
    inherit(program);
    await program.parseAsync(argv);
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    const isExpected =
      error instanceof CliError ||
      error instanceof SettingsError ||
      error instanceof SetupError ||
      error instanceof StackError;
    say(
      isExpected
        ? `refit: ${error.message}`
        : `refit: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    );
    return codeOf(error);
  }
}

/** commander does not hand exitOverride down to commands that exist already. */
function inherit(command: Pick<CommandUnknownOpts, 'commands'>): void {
  for (const sub of command.commands) {
    sub.exitOverride().showHelpAfterError('(add --help for what is possible)');
    inherit(sub);
  }
}

process.exit(await main(process.argv));
