/** The catalogue of failures that end a matter. Everything else is an outage and is retried. */
import { ApplicationFailure } from '@temporalio/activity';
import { rejection } from '../src/domain/rejection.ts';
import { DataProblem } from '../src/ports/data.ts';

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

/** An activity that a problem of the data ends where it makes no result of it: tried again, it would come again for ever. */
export const endedByData =
  <Given extends readonly unknown[], Result>(activity: (...given: Given) => Promise<Result>) =>
  async (...given: Given): Promise<Result> => {
    try {
      return await activity(...given);
    } catch (error) {
      if (!(error instanceof DataProblem)) throw error;
      // Without examples: what a failure says stays in the history.
      throw fail(FAILURES.data, rejection({ ...error, detail: error.message, examples: [] }));
    }
  };
