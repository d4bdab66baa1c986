import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';

import { defineConfig } from '@mikro-orm/postgresql';
import { TransactionTimeoutError, type DbConnectionOptions } from 'nestjs-db-context';
import { Client, type ClientConfig } from 'pg';

import { Cluster } from '../../sample/starter/cluster.js';
import type { PgClient } from '../../lib/postgresql/pg-client.js';
import { clientOf } from '../support/client-of.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { encrypt, type Certificate } from '../support/encryption.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { startApp, type TestApp } from '../support/test-app.js';
import { TlsFront } from '../support/tls-front.js';
import { waitFor } from '../support/wait-for.js';

const TRANSACTION_TIMEOUT_MS = 500;

let server: Cluster;
let certificate: Certificate;
/** Of the certificate, which is its own authority. */
let caFile: string;
let database: TestDatabase;
let front: TlsFront;
let app: TestApp | undefined;

beforeAll(async () => {
  server = await Cluster.start({ standbys: 0 });
  certificate = await encrypt(server.primaryUrl);
  caFile = join(server.directory, 'ca.crt');
  await writeFile(caFile, certificate.cert);
  database = await createTestDatabase(server.primaryUrl);
  await database.query(NOTE_SCHEMA);
});
beforeEach(async () => {
  front = await TlsFront.start(database.url);
});
afterEach(async () => {
  await app?.close();
  app = undefined;
  await front.stop();
});
afterAll(async () => {
  await database.drop();
  await server.stop();
});

/** Starts an application whose pool has these options of pg. */
async function start(driverOptions: object): Promise<TestApp> {
  const connection = defineConfig({
    clientUrl: front.url,
    entities: [Note],
    pool: { min: 0, max: 2 },
    driverOptions,
  });
  app = await startApp({
    connections: [
      { ...connection, transactionTimeoutMs: TRANSACTION_TIMEOUT_MS } as DbConnectionOptions,
    ],
  });
  return app;
}

/** Has a request hold a lock in a statement that takes too long. */
const hang = ({ dbContext, session }: TestApp): Promise<unknown> =>
  dbContext.run(async () => {
    await session().execute('lock table note in access exclusive mode');
    await session().execute('select pg_sleep(60)');
  });

/** Waits until no statement of the application runs on the server, and its lock is free. */
async function expectCancelled(): Promise<void> {
  await waitFor(
    async () => {
      const running = await database.query(
        `select 1 from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active'`,
      );
      return running.length === 0;
    },
    { what: 'the statement to be cancelled', timeoutMs: 3_000 },
  );
  await database.query('begin; lock table note in access exclusive mode nowait; rollback');
}

/** `sslrootcert` and the like belong into the URL, which pg reads by itself. */
const withParameters = (parameters: string): string => `${front.url}?${parameters}`;

const WAYS: readonly (readonly [string, () => object, kind: string])[] = [
  ['an object', () => ({ ssl: { ca: certificate.cert } }), 'SSLRequest'],
  [
    'an object with a certificate of the client, whose key pg hides',
    () => ({ ssl: { ca: certificate.cert, cert: certificate.cert, key: certificate.key } }),
    'SSLRequest',
  ],
  ['no-verify', () => ({ ssl: 'no-verify' }), 'SSLRequest'],
  [
    'sslmode of a connection string',
    () => ({ connectionString: withParameters('sslmode=no-verify') }),
    'SSLRequest',
  ],
  [
    'sslrootcert of a connection string',
    () => ({ connectionString: withParameters(`sslmode=verify-full&sslrootcert=${caFile}`) }),
    'SSLRequest',
  ],
  [
    'direct negotiation',
    () => ({ ssl: { ca: certificate.cert }, sslnegotiation: 'direct' }),
    'TLS',
  ],
  [
    'sockets of the application, as connectors of clouds make them',
    () => ({
      stream: () => {
        const { hostname: host, port } = new URL(front.url);
        const ALPNProtocols = ['postgresql'];
        const ca = certificate.cert;
        const socket = connectTls({ host, port: Number(port), ca, ALPNProtocols });
        // It connects by itself; what pg says of host and port has no effect.
        return Object.assign(socket, { connect: () => socket });
      },
    }),
    'TLS',
  ],
];

describe('a cancel request on a TLS connection', () => {
  it.each(WAYS)('F1: goes over TLS too, which the options give as %s', async (_, ssl, kind) => {
    const current = await start(ssl());
    await expect(hang(current)).rejects.toMatchObject({
      constructor: TransactionTimeoutError,
      code: 'TRANSACTION_TIMEOUT',
    });
    await expectCancelled();
    expect(front.refused).toEqual([]);
    // That of the transaction, and that of the request.
    expect(front.passed).toEqual([kind, kind]);
    expect(current.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
    await current.dbContext.run(() => current.session().execute('select 1'));
  });

  it('F1: carries the longer keys of protocol 3.2', async () => {
    const current = await start({ ssl: { ca: certificate.cert }, Client: ClientOfProtocol32 });
    await current.dbContext.run(async () => {
      const { secretKey } = await clientOf(current.session(), current.connection());
      // PostgreSQL 18 has keys of 32 bytes, where it had four before.
      expect(secretKey).toHaveLength(32);
    });
    await expect(hang(current)).rejects.toMatchObject({ code: 'TRANSACTION_TIMEOUT' });
    await expectCancelled();
    expect(front.refused).toEqual([]);
  });
});

/**
 * A client that asks for protocol 3.2, which pg 8 does not: it speaks the same protocol but for the
 * version in its first message, and the key that it is given.
 */
class ClientOfProtocol32 extends Client {
  constructor(options: ClientConfig) {
    super(options);
    const { connection } = this as unknown as {
      connection: {
        stream: NodeJS.ReadWriteStream;
        once(event: 'sslconnect', listener: () => void): void;
        startup(config: Record<string, string>): void;
      };
    };
    connection.startup = (config) => {
      const texts = [...Object.entries(config).flat(), ''].map((text) => `${text}\0`).join('');
      const message = Buffer.from(`12345678${texts}`);
      message.writeInt32BE(message.length, 0);
      message.writeInt32BE((3 << 16) | 2, 4);
      connection.stream.write(message);
    };
    connection.once('sslconnect', () => {
      connection.stream.on('data', (chunk: Buffer) => this.#readKey(chunk));
    });
  }

  /** Finds BackendKeyData, which comes in one piece with what the server says after the log-in. */
  #readKey(chunk: Buffer): void {
    for (let at = 0; at + 5 <= chunk.length; at += 1 + chunk.readInt32BE(at + 1)) {
      if (chunk[at] === 'K'.charCodeAt(0)) {
        const key = chunk.subarray(at + 9, at + 1 + chunk.readInt32BE(at + 1));
        // The parser of pg, which has its own listener, takes the first four bytes for all of it.
        setImmediate(() => Object.assign(this as unknown as PgClient, { secretKey: key }));
      }
    }
  }
}
