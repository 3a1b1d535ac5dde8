/**
 * Temporal's time-skipping test server. By the SDK's download, else by Maven with a launcher script that the SDK can start
 * as `existing-path`. The server itself listens on every address; where a Java compiler is there, a launcher of our own
 * binds it to the loopback address.
 */
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cached, cachedPath } from './cache.ts';
import { downloadBySdk } from './download.ts';
import { SetupError } from './errors.ts';
import { fetchJars, haveJava, haveMaven } from './maven.ts';
import { withHeartbeat } from './progress.ts';
import { findOnPath, run } from './run.ts';
import type { SetupContext } from './temporal.ts';

const VERSION = '1.38.0';
const ENTRY = `temporal-test-server-${VERSION}`;
const DOWNLOADED = 'temporal-test-server-sdk-download';
const EXECUTABLE = 'temporal-test-server';

/** Called by its path with the port as first argument, as the SDK does. */
const LAUNCHER = (mainClass: string) => `#!/bin/sh
# The SDK waits only five seconds for the server, hence the flags for a quick start.
folder=$(dirname "$0")
exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -cp "$folder/classes:$folder/lib/*" ${mainClass} "$@"
`;

const LOOPBACK_SOURCE = `import io.grpc.BindableService;
import io.grpc.Server;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.temporal.internal.testservice.GRPCServerHelper;
import io.temporal.internal.testservice.TestServicesStarter;
import java.net.InetSocketAddress;
import java.util.Arrays;

public class LoopbackTestServer {
  public static void main(String[] args) throws Exception {
    boolean skipping = Arrays.asList(args).contains("--enable-time-skipping");
    TestServicesStarter services = new TestServicesStarter(!skipping, 0);
    InetSocketAddress address = new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0]));
    NettyServerBuilder builder = NettyServerBuilder.forAddress(address);
    GRPCServerHelper.registerServicesAndHealthChecks(services.getServices(), builder);
    Server server = builder.build().start();
    server.awaitTermination();
  }
}
`;

/** The path of an executable for \`TestWorkflowEnvironment.createTimeSkipping\`. */
export async function ensureTestServer(context: SetupContext): Promise<string> {
  const { cacheRoot, env, progress } = context;
  const there = findTestServer(context);
  if (there !== undefined) return there;
  progress("time-skipping test server: trying the SDK's own download");
  let problem: string | undefined;
  const downloaded = await cached(cacheRoot, DOWNLOADED, async (folder) => {
    problem = await downloadBySdk('test-server', join(folder, EXECUTABLE), env);
    if (problem !== undefined) throw new SetupError(problem);
  }).catch((error: unknown) => {
    if (error instanceof SetupError) return undefined;
    throw error;
  });
  if (downloaded !== undefined) return join(downloaded, EXECUTABLE);
  if (!haveMaven(env)) {
    throw new SetupError(
      `No time-skipping test server: the SDK's download failed (${problem}). Install Java and Maven to get it that way`,
    );
  }
  progress(`time-skipping test server: no download (${problem}); fetching ${VERSION} with Maven`);
  const entry = await cached(cacheRoot, ENTRY, (folder) =>
    withHeartbeat(progress, 'time-skipping test server: mvn', () => build(folder, context)),
  );
  return join(entry, EXECUTABLE);
}

export function findTestServer(context: Omit<SetupContext, 'progress'>): string | undefined {
  const downloaded = cachedPath(context.cacheRoot, join(DOWNLOADED, EXECUTABLE));
  if (downloaded !== undefined) return downloaded;
  return haveJava(context.env) ? cachedPath(context.cacheRoot, join(ENTRY, EXECUTABLE)) : undefined;
}

async function build(folder: string, { env, progress }: SetupContext): Promise<void> {
  const lib = join(folder, 'lib');
  const classes = join(folder, 'classes');
  await mkdir(classes);
  await fetchJars([{ groupId: 'io.temporal', artifactId: 'temporal-test-server', version: VERSION }], lib, env);
  let mainClass = 'io.temporal.testserver.TestServer';
  if (findOnPath('javac', env) !== undefined) {
    const source = join(classes, 'LoopbackTestServer.java');
    await writeFile(source, LOOPBACK_SOURCE);
    const compiled = await run('javac', ['-cp', join(lib, '*'), '-d', classes, source], { env, timeoutMs: 60_000 });
    if (!compiled.ok) throw new SetupError(`the launcher of the test server does not compile: ${compiled.problem}`);
    mainClass = 'LoopbackTestServer';
  } else {
    progress('time-skipping test server: no javac, so it will listen on every address while tests run');
  }
  const script = join(folder, EXECUTABLE);
  await writeFile(script, LAUNCHER(mainClass));
  await chmod(script, 0o755);
}
