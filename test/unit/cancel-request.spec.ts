import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';

import { cancelBackend } from '../../lib/postgresql/cancel-request.js';
import type { PgClient } from '../../lib/postgresql/pg-client.js';

/** Asks for TLS, in place of the first message. */
const SSL_REQUEST = [8, 80_877_103];

/** A client of a server; what is not given is as without TLS. */
function clientOn(port: number, given: object): PgClient {
  const stream = { destroy: (): void => undefined };
  const connection = { stream };
  return { host: '127.0.0.1', port, processID: 7, secretKey: 11, connection, ...given } as never;
}

describe('a cancel request', () => {
  let server: Server;
  let port: number;
  /** What a server has read, one for each connection. */
  let received: Buffer[][];
  /** What the server does with the first bytes of a connection. */
  let answer: (socket: Socket) => void;

  beforeEach(async () => {
    received = [];
    answer = (socket) => socket.end();
    server = createServer((socket) => {
      const chunks: Buffer[] = [];
      received.push(chunks);
      socket.on('error', () => undefined);
      socket.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        answer(socket);
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    ({ port } = server.address() as AddressInfo);
  });
  afterEach(async () => {
    const closed = once(server, 'close');
    server.close();
    await closed;
  });

  /** The integers that each connection has sent. */
  const integers = (): number[][] =>
    received.map((chunks) => {
      const bytes = Buffer.concat(chunks);
      return Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readInt32BE(4 * index));
    });

  it('F1: of a connection without TLS is one message', async () => {
    expect(await cancelBackend(clientOn(port, {}))).toBe(true);
    expect(integers()).toEqual([[16, 80_877_102, 7, 11]]);
  });

  it('F1: has the key at the length that the server gave it', async () => {
    const secretKey = Buffer.from([0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
    expect(await cancelBackend(clientOn(port, { secretKey }))).toBe(true);
    expect(integers()).toEqual([[24, 80_877_102, 7, 1, 2, 3]]);
  });

  it.each([
    ['that has no TLS any more', (socket: Socket) => void socket.write('N')],
    ['that answers with an error', (socket: Socket) => void socket.end('EFATAL\0\0')],
    ['that puts more behind its answer', (socket: Socket) => void socket.write('SN')],
    ['that answers nothing', (socket: Socket) => void socket.end()],
    ['that is silent', () => undefined],
  ])('F1, F6: of a TLS connection is not sent to a server %s', async (_, reaction) => {
    answer = reaction;
    expect(await cancelBackend(clientOn(port, { ssl: { rejectUnauthorized: false } }))).toBe(false);
    expect(integers()).toEqual([SSL_REQUEST]);
  });

  it('F1: of a TLS connection of which nobody knows how it came about is not sent', async () => {
    const connection = { stream: { destroy: () => undefined, encrypted: true } };
    expect(await cancelBackend(clientOn(port, { connection }))).toBe(false);
    expect(received).toEqual([]);
  });
});
