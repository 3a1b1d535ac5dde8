/** The local stack, as the CLI sees it. */
export { doctor } from './doctor.ts';
export { StackError } from './errors.ts';
export { SetupError } from './setup/errors.ts';
export { stderrProgress } from './setup/progress.ts';
export { down, up } from './stack.ts';
