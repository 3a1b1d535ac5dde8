/** Stands for a worker that a test kills while its trainer runs: REQUEST is the trainer's request without signal and callback. */
import { createProcessTrainer } from '../../src/adapters/trainer/process.ts';

const { python, request } = JSON.parse(process.env.REQUEST ?? '{}');
await createProcessTrainer({ python, trainersFolder: '/nowhere', environment: process.env }).run({
  ...request,
  signal: new AbortController().signal,
  onProgress: () => undefined,
});
