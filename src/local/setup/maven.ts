/** Jars from Maven: Maven resolves the tree of dependencies, and the cache keeps the jars side by side. */
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SetupError } from './errors.ts';
import { findOnPath, run } from './run.ts';

export interface MavenArtifact {
  readonly groupId: string;
  readonly artifactId: string;
  readonly version: string;
}

const FETCH_TIMEOUT_MS = 300_000;

export function haveJava(env: NodeJS.ProcessEnv): boolean {
  return findOnPath('java', env) !== undefined;
}

export function haveMaven(env: NodeJS.ProcessEnv): boolean {
  return haveJava(env) && findOnPath('mvn', env) !== undefined;
}

export async function fetchJars(
  artifacts: readonly MavenArtifact[],
  libFolder: string,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  await mkdir(libFolder, { recursive: true });
  const project = await mkdtemp(`${libFolder}-pom-`);
  try {
    await writeFile(join(project, 'pom.xml'), pom(artifacts));
    const result = await run(
      'mvn',
      ['-B', '-q', 'dependency:copy-dependencies', `-DoutputDirectory=${libFolder}`, '-DincludeScope=runtime'],
      { cwd: project, env, timeoutMs: FETCH_TIMEOUT_MS },
    );
    if (!result.ok) throw new SetupError(result.problem);
    if ((await readdir(libFolder)).length === 0) throw new SetupError('mvn ended well but copied no jars');
  } finally {
    await rm(project, { recursive: true, force: true });
  }
}

function pom(artifacts: readonly MavenArtifact[]): string {
  const dependencies = artifacts.map(
    (artifact) =>
      `<dependency><groupId>${artifact.groupId}</groupId><artifactId>${artifact.artifactId}</artifactId>` +
      `<version>${artifact.version}</version></dependency>`,
  );
  return (
    '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>' +
    '<groupId>dev.refit</groupId><artifactId>setup</artifactId><version>1</version>' +
    `<dependencies>${dependencies.join('')}</dependencies></project>\n`
  );
}
