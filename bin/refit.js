#!/usr/bin/env node
import { existsSync } from 'node:fs';

const main = new URL('../dist/src/cli/main.js', import.meta.url);
if (!existsSync(main)) {
  process.stderr.write('refit: not built yet; run `npm run setup` in its folder\n');
  process.exit(2);
}
await import(main.href);
