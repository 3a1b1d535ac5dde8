/** Every workflow that a worker runs. Deterministic: nothing from Node; activities as types only. */
export { batch } from './batch.ts';
export { dataset } from './dataset.ts';
export { lifecycle } from './lifecycle.ts';
export { rollout } from './rollout.ts';
export { run } from './run.ts';
export { sweep } from './sweep.ts';
