import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls, TLSSocket } from 'node:tls';

import type { Certificate } from './encryption.js';

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
const WILL_ENCRYPT = 'S';

/** Where a server listens: a port, or the path of a Unix socket. */
export type ServerPlace =
  | { readonly host: string; readonly port: number }
  | { readonly path: string };

/** The sockets that TLS goes over. */
const underneath = new WeakMap<Socket, Socket>();

/** Opens the side to the server; it may still be connecting. */
export function dial(place: ServerPlace): Socket {
  return connect({ ...place, noDelay: true, allowHalfOpen: true });
}

/**
 * Makes the side to the client one over TLS.
 *
 * @throws Error the client does not ask for TLS, or goes away
 */
export async function acceptTls(client: Socket, { cert, key }: Certificate): Promise<Socket> {
  const [request] = (await once(client, 'data')) as [Buffer];
  if (!request.equals(SSL_REQUEST)) {
    throw new Error('the client does not ask for TLS');
  }
  client.write(WILL_ENCRYPT);
  const secure = new TLSSocket(client, { isServer: true, cert, key });
  underneath.set(secure, client);
  await once(secure, 'secure');
  return secure;
}

/**
 * Makes the side to the server one over TLS.
 *
 * @throws Error the server does not speak TLS, or has another certificate
 */
export async function askForTls(server: Socket, { cert }: Certificate): Promise<Socket> {
  server.write(SSL_REQUEST);
  const [answer] = (await once(server, 'data')) as [Buffer];
  if (answer.toString('latin1') !== WILL_ENCRYPT) {
    throw new Error('the server does not speak TLS');
  }
  const secure = connectTls({ socket: server, ca: cert, host: '127.0.0.1' });
  underneath.set(secure, server);
  await once(secure, 'secureConnect');
  return secure;
}

/**
 * Ends a socket with RST, where it is one of TCP. After FIN there is no RST any more: Node would never
 * close the socket.
 */
export function reset(socket: Socket): void {
  const wire = underneath.get(socket) ?? socket;
  // A Unix socket, which alone has no address, knows no RST.
  if (wire.writableEnded || (wire.remoteAddress === undefined && !wire.connecting)) {
    wire.destroy();
  } else {
    wire.resetAndDestroy();
  }
  if (wire !== socket) {
    socket.destroy();
  }
}
