/** The data engine on DuckDB. */
import type { DataEngine } from '../../ports/data.ts';
import { computeFeatures } from './batch.ts';
import { columnsOf, convert } from './convert.ts';
import { checkExpectations } from './expectations.ts';
import { checkFeatures, columnsOfExpression } from './features.ts';
import { snapshot } from './snapshot.ts';

export const createDataEngine = (): DataEngine => ({
  convert,
  check: checkExpectations,
  columns: columnsOf,
  checkFeatures,
  columnsOfExpression,
  snapshot,
  computeFeatures,
});
