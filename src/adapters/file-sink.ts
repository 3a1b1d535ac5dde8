import type { WriteStream } from 'node:fs';
import { open } from 'node:fs/promises';

/**
 * A stream into a new file, which is there once this returns. One that `createWriteStream` opens by and by may appear only after whoever wrote
 * it has failed and cleared up.
 */
export const fileSink = async (path: string): Promise<WriteStream> => (await open(path, 'w')).createWriteStream();
