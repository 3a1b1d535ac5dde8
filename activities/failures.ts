/** The catalogue of failures that end a matter. Everything else is an outage and is retried. */
import { ApplicationFailure } from '@temporalio/activity';

export const FAILURES = {
  notFound: 'NotFound',
  trainer: 'TrainerFailed',
  model: 'ModelRefused',
  data: 'DataRefused',
} as const;

export function fail(type: (typeof FAILURES)[keyof typeof FAILURES], message: string): ApplicationFailure {
  return ApplicationFailure.nonRetryable(message, type);
}

/** For a row that must be there by now; its absence is a broken registry, not a passing state. */
export function required<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw fail(FAILURES.notFound, `${what} is not in the registry`);
  return value;
}
