/** A TCP proxy that can hold back what one side says: an outage in the middle of a call, at the point that a test chooses. */
import { connect, createServer, type Socket } from 'node:net';

export interface Proxy {
  readonly address: string;
  /** From now on nothing passes in this direction; what is held back is lost when the connection ends. */
  hold(direction: 'requests' | 'answers'): void;
  /** Bytes held back since. */
  readonly held: () => number;
  /** Ends all connections; what comes on new ones passes. */
  cut(): void;
  readonly close: () => Promise<void>;
}

/** Kafka's answers say where its brokers are: host and port, one behind the other. Then the port of the proxy stands there. */
function sayingPort(answer: Buffer, host: string, from: number, to: number): Buffer {
  const place = (port: number): Buffer => {
    const bytes = Buffer.alloc(host.length + 6);
    bytes.writeInt16BE(host.length);
    bytes.write(host, 2);
    bytes.writeInt32BE(port, host.length + 2);
    return bytes;
  };
  const said = Buffer.from(answer);
  for (let found = said.indexOf(place(from)); found !== -1; found = said.indexOf(place(from)))
    place(to).copy(said, found);
  return said;
}

/** @param at the port that it listens on; by default one that is free */
export async function startProxy(target: string, at = 0): Promise<Proxy> {
  const [host = '', port = ''] = target.split(':');
  let ownPort = at;
  const sockets = new Set<Socket>();
  let holding: 'requests' | 'answers' | null = null;
  let held = 0;
  const pass = (from: Socket, to: Socket, direction: 'requests' | 'answers'): void => {
    sockets.add(from);
    from.on('data', (chunk) => {
      if (holding === direction) held += chunk.length;
      else to.write(direction === 'answers' ? sayingPort(chunk, host, Number(port), ownPort) : chunk);
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
  ownPort = address.port;
  return {
    address: `127.0.0.1:${address.port}`,
    hold: (direction) => {
      holding = direction;
    },
    held: () => held,
    cut: () => {
      holding = null;
      held = 0;
      for (const socket of sockets) socket.destroy();
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
