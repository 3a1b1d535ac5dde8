/** A TCP proxy that can hold back what one side says: an outage in the middle of a call, at the point that a test chooses. */
import { connect, createServer, type Socket } from 'node:net';

export interface Proxy {
  readonly address: string;
  /** From now on nothing passes in this direction; what is held back is lost when the connection ends. */
  hold(direction: 'requests' | 'answers'): void;
  /** Bytes held back since. */
  readonly held: () => number;
  readonly close: () => Promise<void>;
}

/** @param at the port that it listens on; by default one that is free */
export async function startProxy(target: string, at = 0): Promise<Proxy> {
  const [host = '', port = ''] = target.split(':');
  const sockets = new Set<Socket>();
  let holding: 'requests' | 'answers' | null = null;
  let held = 0;
  const pass = (from: Socket, to: Socket, direction: 'requests' | 'answers'): void => {
    sockets.add(from);
    from.on('data', (chunk) => {
      if (holding === direction) held += chunk.length;
      else to.write(chunk);
    });
    from.on('close', () => {
      sockets.delete(from);
      to.destroy();
    });
    from.on('error', () => to.destroy());
  };
  const server = createServer((client) => {
    const upstream = connect({ host, port: Number(port) });
    pass(client, upstream, 'requests');
    pass(upstream, client, 'answers');
  });
  await new Promise<void>((resolve) => server.listen(at, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  return {
    address: `127.0.0.1:${address.port}`,
    hold: (direction) => {
      holding = direction;
    },
    held: () => held,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
