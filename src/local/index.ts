/** The local stack, as the CLI and the tests see it. */
export { type DoctorCheck, doctor } from './doctor.ts';
export { StackError } from './errors.ts';
export { type KafkaServerOptions, startKafka } from './kafka.ts';
export { defaultParts, type PartSpec } from './parts.ts';
export { freePorts } from './ports.ts';
export { ensureSearchAttributes, missingSearchAttributes, SEARCH_ATTRIBUTES } from './search-attributes.ts';
export { SetupError } from './setup/errors.ts';
export { ensureStackTools, ensureTestTools, type StackTools, setupContext, type TestTools } from './setup/index.ts';
export { stderrProgress } from './setup/progress.ts';
export { TRAINERS_FOLDER } from './setup/python.ts';
export { type DownResult, down, type UpOptions, up } from './stack.ts';
export type { StackState } from './state.ts';
export { runSupervisor, type SupervisorOptions } from './supervisor.ts';
export { startTemporal, type TemporalServerOptions } from './temporal.ts';
export type { StartedUnit } from './unit.ts';
