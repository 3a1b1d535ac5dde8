/** The data engine on DuckDB. */
import type { DataEngine } from '../../ports/data.ts';
import { computeFeatures } from './batch.ts';
import { columnsOf } from './convert.ts';
import { checkExpectations } from './expectations.ts';
import { checkFeatures, columnsOfExpression } from './features.ts';
import { createReader, type ReaderOptions } from './reading/reader.ts';
import { snapshot } from './snapshot.ts';

export const createDataEngine = (options: ReaderOptions = {}): DataEngine => ({
  convert: createReader(options),
  check: checkExpectations,
  columns: columnsOf,
  checkFeatures,
  columnsOfExpression,
  snapshot,
  computeFeatures,
});
