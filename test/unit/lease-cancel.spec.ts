import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';

import { Lease } from '../../lib/connection/lease.js';
import type { PgClient } from '../../lib/postgresql/pg-client.js';
import { deferred } from '../support/deferred.js';

/** What a cancel request consists of: its length, its code, the process id and the secret key. */
const CANCEL_REQUEST = [16, 80_877_102, 7, 11];

/** A client outside of a transaction, which notes what it is given. */
function clientOn(port: number): {
  client: PgClient;
  /** What it was released with, once for each time. */
  released: unknown[];
  /** Resolves when it is released. */
  over: Promise<void>;
  sent: string[];
} {
  const released: unknown[] = [];
  const isOver = deferred();
  const sent: string[] = [];
  const client: PgClient = {
    host: '127.0.0.1',
    port,
    processID: 7,
    secretKey: 11,
    connection: {
      stream: { destroy: () => undefined },
      on: () => undefined,
      off: () => undefined,
    },
    query: (sql) => {
      sent.push(sql);
      return Promise.resolve({ command: 'SELECT', rowCount: 0, rows: [] });
    },
    getTransactionStatus: () => 'I',
    readyForQuery: true,
    escapeLiteral: (value) => `'${value}'`,
    release: (destroy) => {
      released.push(destroy);
      isOver.resolve();
    },
    on: () => undefined,
    off: () => undefined,
  };
  return { client, released, over: isOver.promise, sent };
}

describe('a cancel request that is under way', () => {
  let server: Server;
  let port: number;
  let requests: Socket[] = [];

  beforeAll(async () => {
    // Half open, so that a request is over only when a test says so.
    server = createServer({ allowHalfOpen: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    ({ port } = server.address() as AddressInfo);
  });
  beforeEach(() => {
    requests = [];
  });
  afterEach(() => {
    requests.forEach((request) => request.destroy());
  });
  afterAll(async () => {
    const closed = once(server, 'close');
    server.close();
    await closed;
  });

  /** Takes the next request, which the server has read and not yet dealt with. */
  async function nextRequest(): Promise<Socket> {
    const [request] = (await once(server, 'connection')) as [Socket];
    requests.push(request);
    const [bytes] = (await once(request, 'data')) as [Buffer];
    expect([0, 4, 8, 12].map((offset) => bytes.readInt32BE(offset))).toEqual(CANCEL_REQUEST);
    return request;
  }

  /** A lease, and what becomes of its client. */
  function lease(at = port) {
    const fake = clientOn(at);
    return { ...fake, lease: new Lease(fake.client, () => undefined) };
  }

  it('F2: keeps its client from the pool until the server has dealt with it', async () => {
    const { lease: lent, released, over } = lease();
    lent.cancel();
    lent.giveBack();
    const request = await nextRequest();
    expect(released).toHaveLength(0);
    request.end();
    await over;
    expect(released).toStrictEqual([undefined]);
  });

  it('F2, F1: a second end of its client does nothing', async () => {
    const { lease: lent, released, over } = lease();
    lent.cancel();
    lent.giveBack();
    lent.giveBack();
    const destroyed = lent.destroy();
    const request = await nextRequest();
    expect(released).toHaveLength(0);
    request.end();
    await Promise.all([over, destroyed]);
    expect(released).toStrictEqual([undefined]);
  });

  it('F2: holds up the next statement of its transaction, which it must not hit', async () => {
    const { lease: lent, sent } = lease();
    lent.cancel();
    const answer = lent.query('select 1');
    const request = await nextRequest();
    expect(sent).toEqual([]);
    request.end();
    await expect(answer).resolves.toMatchObject({ command: 'SELECT' });
    expect(sent).toEqual(['select 1']);
  });

  it('F2: that never gets through has its client destroyed', async () => {
    const refusing = createServer();
    refusing.listen(0, '127.0.0.1');
    await once(refusing, 'listening');
    const { port: closedPort } = refusing.address() as AddressInfo;
    const closed = once(refusing, 'close');
    refusing.close();
    await closed;

    const { lease: lent, released, over } = lease(closedPort);
    lent.cancel();
    lent.giveBack();
    await over;
    expect(released).toStrictEqual([true]);
  });

  it('F2, F6: that the server does not deal with in time has its client destroyed', async () => {
    const { lease: lent, released, over } = lease();
    lent.cancel();
    lent.giveBack();
    await nextRequest();
    expect(released).toHaveLength(0);
    await over;
    expect(released).toStrictEqual([true]);
  });
});
