/** The protocol's paths. Every error has the form {"error": "..."}. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Answer, type Answerer, InferenceFailed } from './answering.ts';
import type { KeptLookup } from './cache.ts';
import type { Deployment } from './deployment.ts';
import type { Follower } from './follower.ts';
import type { LoadedVersion } from './loaded-version.ts';
import { specOf } from './lookups.ts';
import { messageOf } from './ports.ts';
import type { ServingMetrics } from './serving-metrics.ts';
import { BadRequest, DATATYPES } from './tensors.ts';

interface Routing {
  readonly follower: Follower;
  readonly metrics: ServingMetrics;
  readonly answerer: Answerer;
  readonly championOnly: () => boolean;
  readonly lookups: () => readonly KeptLookup[];
}
interface Params {
  readonly model: string;
  readonly version?: string;
}

/** With its schema known, the answer is written several times faster. */
const ANSWER_SCHEMA = {
  type: 'object',
  properties: {
    model_name: { type: 'string' },
    model_version: { type: 'string' },
    id: { type: 'string' },
    parameters: { type: 'object', properties: { version: { type: 'integer' }, role: { type: 'string' } } },
    outputs: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          name: { type: 'string' },
          datatype: { type: 'string' },
          shape: { type: 'array', items: { type: 'integer' } },
          data: { type: 'array', items: { type: 'number' } },
        },
      },
    },
  },
} as const;

const answerBody = (model: string, answer: Answer): object => ({
  model_name: model,
  model_version: String(answer.version),
  id: answer.requestId,
  parameters: { version: answer.version, role: answer.role },
  outputs: [
    { name: answer.output, datatype: 'FP64', shape: [answer.count, answer.width], data: Array.from(answer.values) },
  ],
});

function metadataOf(
  model: string,
  { manifest, inputs }: LoadedVersion,
  versions: readonly string[],
  lookups: readonly KeptLookup[],
): object {
  const isRegression = manifest.task === 'regression';
  const specs = new Set((manifest.joins ?? []).map(specOf));
  const used = lookups
    .filter(({ spec }) => specs.has(spec))
    .map(({ dataset, datasetVersion }) => [`lookup_${dataset}`, datasetVersion] as const);
  const { idColumn } = manifest;
  // Where features or keys read the id, callers send it once, as these take it.
  const ownId =
    idColumn === null || inputs.some(({ name }) => name === idColumn)
      ? []
      : [{ name: idColumn, datatype: 'BYTES', shape: [-1], parameters: { id: true, optional: true } }];
  return {
    name: model,
    versions,
    platform: 'refit_onnx',
    // What joins look up, and from which version of the dataset it is.
    ...(used.length === 0 ? {} : { parameters: Object.fromEntries(used) }),
    inputs: [
      ...inputs.map(({ name, type }) => ({
        ...{ name, datatype: DATATYPES[type][0], shape: [-1] },
        // Texts and times are both BYTES.
        parameters: { type, ...(name === idColumn ? { id: true } : {}) },
      })),
      ...ownId,
    ],
    outputs: [
      {
        name: isRegression ? 'prediction' : 'probabilities',
        datatype: 'FP64',
        shape: [-1, isRegression ? 1 : manifest.classes.length],
        ...(isRegression ? {} : { parameters: { classes: manifest.classes.join(',') } }),
      },
    ],
  };
}

function statusOf(error: unknown): number {
  if (error instanceof BadRequest) return error.status;
  if (error instanceof InferenceFailed) return 500;
  // Fastify's own, such as a body that is no JSON or too large.
  return error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number'
    ? error.statusCode
    : 500;
}

export function registerRoutes(
  app: FastifyInstance,
  { follower, metrics, answerer, championOnly, lookups }: Routing,
): void {
  const deploymentOf = (model: string): Deployment => {
    const deployment = follower.deployment(model);
    if (deployment !== undefined) return deployment;
    const served = follower.models();
    throw new BadRequest(
      `model ${model} is not served here${served.length === 0 ? ': nothing was promoted yet' : `; served are ${served.join(', ')}`}`,
      404,
    );
  };
  const loadedOf = ({ model, version }: Params): LoadedVersion => {
    const { plan, versions } = deploymentOf(model);
    const wanted =
      version === undefined ? plan.entries.find(({ role }) => role === 'champion')?.version : Number(version);
    const loaded = wanted === undefined ? undefined : versions.get(wanted);
    if (loaded === undefined)
      throw new BadRequest(
        `${version === undefined ? 'the champion' : `version ${version}`} of ${model} is not served here`,
        version === undefined ? 503 : 404,
      );
    return loaded;
  };
  const isReady = (model: string): boolean => follower.deployment(model)?.shape != null;

  const infer = async (request: FastifyRequest<{ Params: Params }>, reply: FastifyReply): Promise<object> => {
    const { model, version } = request.params;
    const deployment = deploymentOf(model);
    if (version !== undefined && !/^\d{1,9}$/.test(version))
      throw new BadRequest(`version ${version} is not a number`, 404);
    const answer = await answerer.answer(
      deployment,
      request.body,
      version === undefined ? null : Number(version),
      championOnly(),
    );
    reply.raw.once('finish', answer.afterwards);
    return answerBody(model, answer);
  };
  const schema = { response: { 200: ANSWER_SCHEMA } };
  app.post<{ Params: Params }>('/v2/models/:model/infer', { schema }, infer);
  app.post<{ Params: Params }>('/v2/models/:model/versions/:version/infer', { schema }, infer);

  const metadata = async (request: FastifyRequest<{ Params: Params }>): Promise<object> => {
    const { model } = request.params;
    return metadataOf(model, loadedOf(request.params), [...deploymentOf(model).versions.keys()].map(String), lookups());
  };
  app.get<{ Params: Params }>('/v2/models/:model', metadata);
  app.get<{ Params: Params }>('/v2/models/:model/versions/:version', metadata);

  const ready = async (request: FastifyRequest<{ Params: Params }>): Promise<object> => {
    loadedOf(request.params);
    return { name: request.params.model, ready: true };
  };
  app.get<{ Params: Params }>('/v2/models/:model/ready', ready);
  app.get<{ Params: Params }>('/v2/models/:model/versions/:version/ready', ready);

  app.get('/v2', async () => ({ name: 'refit', version: '2', extensions: [] }));
  app.get('/v2/health/live', async () => ({ live: true }));
  app.get('/v2/health/ready', async (_request, reply) => {
    const isAllReady = follower.started() && follower.models().every(isReady);
    return reply.status(isAllReady ? 200 : 503).send({ ready: isAllReady });
  });
  app.get('/metrics', async (_request, reply) =>
    reply.header('content-type', metrics.contentType).send(await metrics.text()),
  );

  app.setNotFoundHandler(async (request, reply) =>
    reply
      .status(404)
      .send({ error: `there is no ${request.method} ${request.url}; the protocol's paths start with /v2` }),
  );
  app.setErrorHandler(async (error, _request, reply) => {
    const status = statusOf(error);
    metrics.refused(status);
    return reply.status(status).send({ error: messageOf(error) });
  });
}
