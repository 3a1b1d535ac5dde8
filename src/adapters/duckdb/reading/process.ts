/**
 * The process that reads what others sent. A hostile or damaged file can bring a native reader down, hang it or make it eat memory; here that
 * ends this process and no other. It has no secrets in its environment, and is told one file at a time (reader.ts).
 */
import { type ConvertedFile, type ConvertRequest, DataProblem } from '../../../ports/data.ts';
import { type ConvertLimits, convert } from '../convert.ts';

export interface ReadOrder {
  readonly input: ConvertRequest;
  readonly limits: ConvertLimits;
}
export type ReadAnswer =
  | { readonly done: ConvertedFile }
  | {
      readonly problem: Pick<DataProblem, 'check' | 'message' | 'column' | 'examples'>;
    }
  | { readonly fault: string };

async function answer({ input, limits }: ReadOrder): Promise<ReadAnswer> {
  try {
    return { done: await convert(input, limits) };
  } catch (error) {
    if (error instanceof DataProblem) {
      const { check, message, column, examples } = error;
      return { problem: { check, message, column, examples } };
    }
    return { fault: error instanceof Error ? error.message : String(error) };
  }
}

process.on('message', (order: ReadOrder) => {
  void answer(order).then((said) => process.send?.(said));
});
// Its parent is gone.
process.on('disconnect', () => process.exit(0));
