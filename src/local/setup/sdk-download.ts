/**
 * Fetches an executable by the Temporal SDK's own download. The SDK offers it only together with starting the server, and
 * a native call cannot be interrupted, so this runs as a process of its own that the caller may end.
 * Arguments: `cli` or `test-server`, and the folder that receives the executable.
 */
const [kind, downloadDir] = process.argv.slice(2);
if (downloadDir === undefined || (kind !== 'cli' && kind !== 'test-server')) {
  process.stderr.write('usage: sdk-download (cli|test-server) FOLDER\n');
  process.exit(2);
}

try {
  // A development dependency: in an installation without it this way is simply not there.
  const { TestWorkflowEnvironment } = await import('@temporalio/testing');
  const executable = { type: 'cached-download', downloadDir, ttl: '3650d' } as const;
  const environment =
    kind === 'cli'
      ? await TestWorkflowEnvironment.createLocal({ server: { executable } })
      : await TestWorkflowEnvironment.createTimeSkipping({ server: { executable } });
  await environment.teardown();
} catch (error) {
  // One line: it is shown as the reason for taking the next way.
  process.stderr.write(`${error instanceof Error ? error.message.split('\n')[0] : String(error)}\n`);
  process.exitCode = 1;
}
