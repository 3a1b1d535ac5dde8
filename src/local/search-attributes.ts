/** The search attributes that the workflows set. An unregistered one fails a workflow task again and again. */
import type { Connection } from '@temporalio/client';

/** The values of temporal.api.enums.v1.IndexedValueType. */
const KEYWORD = 2;
const INT = 3;

export const SEARCH_ATTRIBUTES: Readonly<Record<string, { readonly name: string; readonly code: number }>> = {
  RefitModel: { name: 'Keyword', code: KEYWORD },
  RefitStage: { name: 'Keyword', code: KEYWORD },
  RefitTrigger: { name: 'Keyword', code: KEYWORD },
  RefitOutcome: { name: 'Keyword', code: KEYWORD },
  RefitVersion: { name: 'Int', code: INT },
};

/** Those that are missing or of another type, as text for `doctor` and for a worker that refuses to start. */
export async function missingSearchAttributes(
  connection: Pick<Connection, 'operatorService'>,
  namespace: string,
): Promise<string[]> {
  const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
  return Object.entries(SEARCH_ATTRIBUTES)
    .filter(([name, type]) => Number(customAttributes?.[name] ?? 0) !== type.code)
    .map(([name]) => name);
}

export async function ensureSearchAttributes(
  connection: Pick<Connection, 'operatorService'>,
  namespace: string,
): Promise<void> {
  const missing = await missingSearchAttributes(connection, namespace);
  if (missing.length === 0) return;
  const searchAttributes = Object.fromEntries(missing.map((name) => [name, SEARCH_ATTRIBUTES[name]?.code ?? KEYWORD]));
  await connection.operatorService.addSearchAttributes({ namespace, searchAttributes });
}
