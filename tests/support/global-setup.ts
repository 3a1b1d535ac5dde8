/** Starts the servers once for all test files, which get their addresses through vitest's `inject`. */
import type { TestProject } from 'vitest/node';
import { startTestServers } from './stack.ts';

declare module 'vitest' {
  interface ProvidedContext {
    temporalAddress: string;
    temporalUi: string;
    kafkaBrokers: string;
    /** Of a database for registries, each in a schema of its own. */
    postgresUrl: string;
    /** Endpoint of a server that speaks S3; each test file makes a bucket of its own. */
    s3Url: string;
    /** Executable of the time-skipping test server, for `existing-path`. */
    testServerPath: string;
    pythonPath: string;
    kafkaPythonPath: string;
    kafkaLibFolder: string;
  }
}

export default async function globalSetup(project: TestProject): Promise<() => Promise<void>> {
  const servers = await startTestServers();
  project.provide('temporalAddress', servers.temporalAddress);
  project.provide('temporalUi', servers.temporalUi);
  project.provide('kafkaBrokers', servers.kafkaBrokers);
  project.provide('postgresUrl', servers.postgresUrl);
  project.provide('s3Url', servers.s3Url);
  project.provide('testServerPath', servers.testServerPath);
  project.provide('pythonPath', servers.pythonPath);
  project.provide('kafkaPythonPath', servers.kafkaPythonPath);
  project.provide('kafkaLibFolder', servers.kafkaLibFolder);
  return servers.stop;
}
