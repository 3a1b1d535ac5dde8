/** Answers that are not 200: what is wrong with the request, what is not there, and what cannot be reached. */
import {
  isGrpcServiceError,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
} from '@temporalio/client';

export class ApiError extends Error {
  override readonly name = 'ApiError';
  constructor(
    readonly statusCode: 400 | 404 | 409 | 503,
    message: string,
    readonly details?: unknown,
  ) {
    super(message);
  }
}

export const notFound = (what: string, next: string): ApiError => new ApiError(404, `${what} is not known; ${next}`);

/** How long an update may wait for a worker. */
export const UPDATE_TIMEOUT_MS = 20_000;

/** Tells an update that was refused from a Temporal, or a worker, that is away. */
export async function asUpdate<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof WorkflowUpdateFailedError)
      throw new ApiError(400, `${what}: ${error.cause?.message ?? error.message}`);
    if (error instanceof WorkflowNotFoundError) throw new ApiError(409, `${what}: its workflow has ended`);
    if (error instanceof WorkflowUpdateRPCTimeoutOrCancelledError) {
      throw new ApiError(
        503,
        `${what}: no worker answered within ${UPDATE_TIMEOUT_MS / 1000} s; see that one runs (refit doctor), then repeat the command`,
      );
    }
    if (isGrpcServiceError(error))
      throw new ApiError(
        503,
        `${what}: Temporal cannot be reached (${error.details || error.message}); repeat the command when it is back`,
      );
    throw error;
  }
}
