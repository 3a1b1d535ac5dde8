/** The steps of an erasure, slice by slice. Pure. */
import type { ErasedData, ErasureProgress, ErasureSlice } from '../contracts/messages.ts';

const NEXT = { snapshots: 'bytes', bytes: 'predictions', predictions: 'batches', batches: 'finish' } as const;
type Sliced = keyof typeof NEXT;

/** The dataset's own versions are without the rows. */
export const begun = (erasure: number, { idColumn, rows, version, lostVersions }: ErasedData): ErasureProgress => ({
  ...{ erasure, idColumn, step: 'snapshots', after: null },
  tally: {
    rows: { data: rows, snapshots: 0, predictions: 0, batches: 0 },
    ...{ version, lostVersions, unrepeatable: [] },
  },
});

/** After one slice of a step. */
export function advanced(
  progress: ErasureProgress & { readonly step: Sliced },
  { rows, after, unrepeatable = [] }: ErasureSlice,
): ErasureProgress {
  const { step, tally } = progress;
  const counted = step === 'bytes' ? tally.rows : { ...tally.rows, [step]: tally.rows[step] + rows };
  return {
    ...progress,
    ...(after === null ? { step: NEXT[step], after: null } : { after }),
    tally: { ...tally, rows: counted, unrepeatable: [...tally.unrepeatable, ...unrepeatable] },
  };
}
