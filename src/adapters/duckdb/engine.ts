/** The data engine on DuckDB. */
import type { DataEngine } from '../../ports/data.ts';
import { checkArrival } from './arrival-checks.ts';
import { computeFeatures } from './batch.ts';
import { emptyColumns } from './column-checks.ts';
import { columnsOf } from './convert.ts';
import { findIds, withoutIds } from './erase.ts';
import { checkFeatures, columnsOfExpression } from './features.ts';
import { buildLookup } from './joins.ts';
import { profileOf } from './profile.ts';
import { createReader, type ReaderOptions } from './reading/reader.ts';
import { snapshot } from './snapshot.ts';

export const createDataEngine = (options: ReaderOptions = {}): DataEngine => ({
  convert: createReader(options),
  check: checkArrival,
  profile: profileOf,
  emptyColumns,
  columns: columnsOf,
  checkFeatures,
  columnsOfExpression,
  snapshot,
  computeFeatures,
  findIds,
  withoutIds,
  buildLookup,
});
