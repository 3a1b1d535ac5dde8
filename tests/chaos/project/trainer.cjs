'use strict';
// The cheapest trainer that keeps the contract: a prepared ONNX file (2x + 1) and the predictions that it gives. The digest of the training
// data goes into the file's doc_string, so that each run has a bundle of its own.
const { createHash } = require('node:crypto');
const { readFileSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');
const { DuckDBInstance } = require(process.env.CHAOS_DUCKDB);

async function main() {
  const spec = JSON.parse(readFileSync(process.env.REFIT_SPEC, 'utf8'));
  const connection = await (await DuckDBInstance.create()).connect();
  const target = join(spec.output, 'predictions.parquet');
  await connection.run(
    `copy (select 2 * x + 1 as prediction from read_parquet('${spec.validation}')) to '${target}' (format parquet)`,
  );
  const text = Buffer.from(createHash('sha256').update(readFileSync(spec.train)).digest('hex'));
  // Field 6 of a ModelProto, doc_string, as text with its length before it.
  const doc = Buffer.concat([Buffer.from([0x32, text.length]), text]);
  writeFileSync(join(spec.output, 'model.onnx'), Buffer.concat([readFileSync('linear.onnx'), doc]));
}

void main();
