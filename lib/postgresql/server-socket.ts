import { once } from 'node:events';
import { isIP, Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';

import type { PgClient } from './pg-client.js';

/** The first message of a connection that is to be encrypted; the server answers with one byte. */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
const WILL_ENCRYPT = 'S';

/** Called with each socket as it is made, so that the caller can end it. */
type OnSocket = (socket: Socket) => void;

/**
 * Opens another connection to the server of a client, in the way in which the client has opened its own:
 * over the same kind of socket, and over TLS with the same options. What is sent on it is never less
 * protected than what the client sends.
 *
 * @param stepMs longest time of each of its steps (connecting, the server's answer, the handshake), in
 *   milliseconds
 * @throws Error the server cannot be reached, declines TLS or has the wrong certificate; or nobody knows
 *   how the client's own connection was encrypted
 */
export async function openBeside(
  client: PgClient,
  stepMs: number,
  onSocket: OnSocket,
): Promise<Socket> {
  const { ssl, makeStream, host, port } = client;
  if (makeStream === undefined && !ssl && client.connection.stream.encrypted === true) {
    throw new Error('the connection is encrypted by a socket of unknown origin');
  }
  const socket = (makeStream?.() as Socket | undefined) ?? new Socket();
  keep(socket, onSocket);
  const connected = next(socket, 'connect', stepMs);
  if (host.startsWith('/')) {
    socket.connect(`${host}/.s.PGSQL.${port}`);
  } else {
    socket.connect(port, host);
  }
  await connected;
  return ssl ? encrypted(socket, client, stepMs, onSocket) : socket;
}

/** Does what `pg` does in `Connection.connect()` and `upgradeToSSL()`. */
async function encrypted(
  socket: Socket,
  { ssl, sslNegotiation, host }: PgClient,
  stepMs: number,
  onSocket: OnSocket,
): Promise<Socket> {
  const isDirect = sslNegotiation === 'direct';
  if (!isDirect) {
    socket.write(SSL_REQUEST);
    const [answer] = (await next(socket, 'data', stepMs)) as [Buffer];
    // More than one byte was not encrypted, and may be from somebody who wants it to be taken for it.
    if (answer.toString('latin1') !== WILL_ENCRYPT) {
      throw new Error('the server declines TLS');
    }
  }
  const given = typeof ssl === 'object' ? (ssl as ConnectionOptions) : {};
  const secure = connectTls({
    ...given,
    socket,
    // `pg` makes the private key not enumerable, so the copy above lacks it.
    ...('key' in given && { key: given.key }),
    ...(isIP(host) === 0 && { servername: host }),
    ...(isDirect && { ALPNProtocols: ['postgresql'] }),
  });
  keep(secure, onSocket);
  await next(secure, 'secureConnect', stepMs);
  return secure;
}

function keep(socket: Socket, onSocket: OnSocket): void {
  // An error is what the step that is waited for fails with; a later one means nothing.
  socket.on('error', () => undefined);
  socket.unref();
  onSocket(socket);
}

/**
 * The arguments of the next event of a socket.
 *
 * @throws Error the socket fails or closes before, or the time is over
 */
export async function next(socket: Socket, event: string, limitMs: number): Promise<unknown[]> {
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(), limitMs).unref();
  const onClose = (): void => over.abort();
  if (event !== 'close') {
    socket.on('close', onClose);
  }
  try {
    return (await once(socket, event, { signal: over.signal })) as unknown[];
  } finally {
    clearTimeout(timer);
    socket.off('close', onClose);
  }
}
