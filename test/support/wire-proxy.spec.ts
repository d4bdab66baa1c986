import { join } from 'node:path';

import { Client } from 'pg';
import { createTestDatabase, type TestDatabase } from './database.js';
import { Cluster } from '../../sample/starter/cluster.js';
import { deferred } from './deferred.js';
import { encrypt } from './encryption.js';
import { waitFor } from './wait-for.js';
import { WireProxy, type WireOptions } from './wire-proxy.js';

// For pg a connection is "ending" after its first Sync, and it then keeps ECONNRESET to itself.
const CONNECTION_BROKEN = /ECONNRESET|EPIPE|Connection terminated unexpectedly/;

const KINDS = ['TCP', 'TLS', 'a Unix socket'] as const;

describe.each(KINDS)('WireProxy over %s', (kind) => {
  let server: Cluster | undefined;
  let options: WireOptions = {};
  let database: TestDatabase;
  let proxy: WireProxy;
  let clients: Client[];

  beforeAll(async () => {
    if (kind !== 'TCP') {
      server = await Cluster.start({ standbys: 0, settings: ['unix_socket_directories=.'] });
      options =
        kind === 'TLS'
          ? { tls: await encrypt(server.primaryUrl) }
          : { socketDirectory: join(server.directory, 'primary') };
    }
    database = await createTestDatabase(server?.primaryUrl);
    await database.query('create table note (text text not null)');
  });
  afterAll(async () => {
    await database.drop();
    await server?.stop();
  });

  beforeEach(async () => {
    proxy = await WireProxy.start(database.url, options);
    clients = [];
  });
  afterEach(async () => {
    await database.query('truncate note');
    await Promise.allSettled(clients.map((client) => client.end()));
    await proxy.stop();
    expect(proxy.openConnections).toBe(0);
  });

  async function connect(): Promise<Client> {
    const client = new Client({
      connectionString: proxy.url,
      keepAlive: false,
      ...(options.tls !== undefined && { ssl: { ca: options.tls.cert } }),
    });
    // The cuts of these tests reach the client between statements too.
    client.on('error', () => undefined);
    clients.push(client);
    await client.connect();
    return client;
  }

  const notes = async (): Promise<unknown[]> =>
    (await database.query<{ text: string }>('select text from note order by text')).map(
      ({ text }) => text,
    );

  it('logs simple and parameterised statements in order, by connection', async () => {
    const first = await connect();
    const second = await connect();
    await first.query('begin');
    await second.query('select 1');
    await first.query('insert into note values ($1)', ['a']);
    await first.query('commit');

    expect(proxy.statements).toEqual([
      { connection: 1, sql: 'begin' },
      { connection: 2, sql: 'select 1' },
      { connection: 1, sql: 'insert into note values ($1)' },
      { connection: 1, sql: 'commit' },
    ]);
    expect(proxy.log).toEqual(['begin', 'select 1', 'insert into note values ($1)', 'commit']);
    expect(proxy.roundTrips).toBe(4);
    expect(proxy.openConnections).toBe(2);
    expect(await notes()).toEqual(['a']);

    proxy.reset();
    expect(proxy.log).toEqual([]);
    expect(proxy.roundTrips).toBe(0);
  });

  it('forgets a connection that the client closed', async () => {
    const client = await connect();
    await client.end();
    await waitFor(() => proxy.openConnections === 0, { what: 'the connection to close' });
  });

  it('leaves TLS to the server, or speaks it itself, and then demands it', async () => {
    const wanting = new Client({ connectionString: proxy.url, ssl: true });
    const plain = new Client({ connectionString: proxy.url });
    if (options.tls === undefined) {
      await expect(wanting.connect()).rejects.toThrow('The server does not support SSL');
    } else {
      await expect(wanting.connect()).rejects.toThrow('self-signed certificate');
      await expect(plain.connect()).rejects.toThrow(CONNECTION_BROKEN);
    }
  });

  it('reassembles statements and answers that span many chunks', async () => {
    const client = await connect();
    const text = 'x'.repeat(300_000);

    const simple = await client.query<{ text: string }>(`select '${text}' as text`);
    expect(simple.rows).toEqual([{ text }]);
    await client.query('insert into note values ($1)', [text]);

    expect(proxy.log).toEqual([`select '${text}' as text`, 'insert into note values ($1)']);
    expect(await notes()).toEqual([text]);
  });

  it('reads several messages of one chunk', async () => {
    const client = await connect();
    const message = (sql: string): Buffer => {
      const body = Buffer.from(`${sql}\0`);
      const head = Buffer.alloc(5, 'Q');
      head.writeInt32BE(body.length + 4, 1);
      return Buffer.concat([head, body]);
    };
    const stream = (client as unknown as { connection: { stream: NodeJS.WritableStream } })
      .connection.stream;
    stream.write(Buffer.concat([message(`insert into note values ('a')`), message('select 1')]));

    await waitFor(() => proxy.log.length === 2, { what: 'two statements' });
    expect(proxy.log).toEqual([`insert into note values ('a')`, 'select 1']);
    await waitFor(async () => (await notes()).length === 1, { what: 'the insert' });
  });

  it('dropAnswerTo: the server commits, the client sees its connection break', async () => {
    const client = await connect();
    proxy.dropAnswerTo(/^commit$/i);
    await client.query('begin');
    await client.query('insert into note values ($1)', ['a']);
    await expect(client.query('COMMIT')).rejects.toThrow(CONNECTION_BROKEN);

    expect(await notes()).toEqual(['a']);
    const other = await connect();
    await expect(other.query('commit')).resolves.toBeDefined();
  });

  it('dropAnswerTo: works for a parameterised statement', async () => {
    const client = await connect();
    proxy.dropAnswerTo(/insert/);
    await client.query('select 1');
    await expect(client.query('insert into note values ($1)', ['a'])).rejects.toThrow(
      CONNECTION_BROKEN,
    );
    expect(await notes()).toEqual(['a']);
  });

  it('cutBefore: the server never sees the statement', async () => {
    const client = await connect();
    proxy.cutBefore(/^commit$/);
    await client.query('begin');
    await client.query('insert into note values ($1)', ['a']);
    await expect(client.query('commit')).rejects.toThrow(CONNECTION_BROKEN);

    await waitFor(
      async () => {
        const open = await database.query(
          `select from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()`,
          [database.name],
        );
        return open.length === 0;
      },
      { what: 'the server to drop the session' },
    );
    expect(await notes()).toEqual([]);
    expect(proxy.log).toContain('commit');
  });

  it('cut: breaks every connection, new ones work', async () => {
    const client = await connect();
    const failed = expect(client.query('select pg_sleep(10)')).rejects.toThrow(CONNECTION_BROKEN);
    await waitFor(() => proxy.log.length === 1, { what: 'the statement' });
    proxy.cut();
    await failed;

    const other = await connect();
    await expect(other.query('select 1')).resolves.toBeDefined();
  });

  it('refuse: destroys new connections only', async () => {
    const client = await connect();
    proxy.refuse = true;
    await expect(connect()).rejects.toThrow(CONNECTION_BROKEN);
    await expect(client.query('select 1')).resolves.toBeDefined();
  });

  it('freeze and thaw: bytes are held in both directions, sockets stay open', async () => {
    const client = await connect();
    proxy.freeze();
    let answered = false;
    const insert = client.query(`insert into note values ('a')`).then(() => {
      answered = true;
    });
    const late = connect();
    await waitFor(() => proxy.openConnections === 2, { what: 'the frozen connection' });
    expect(proxy.log).toEqual([]);
    expect(await notes()).toEqual([]);
    expect(answered).toBe(false);

    proxy.thaw();
    await insert;
    await late;
    expect(await notes()).toEqual(['a']);
  });

  it('freeze: an answer on its way is held too', async () => {
    const client = await connect();
    proxy.onStatement = () => proxy.freeze();
    let answered = false;
    const insert = client.query(`insert into note values ('a')`).then(() => {
      answered = true;
    });
    await waitFor(async () => (await notes()).length === 1, { what: 'the insert' });
    expect(answered).toBe(false);

    proxy.onStatement = undefined;
    proxy.thaw();
    await insert;
  });

  it('onStatement: holds a statement until it is let go', async () => {
    const client = await connect();
    const gate = deferred();
    proxy.onStatement = () => gate.promise;
    const insert = client.query(`insert into note values ('a')`);
    await waitFor(() => proxy.log.length === 1, { what: 'the statement' });
    expect(await notes()).toEqual([]);

    gate.resolve();
    await insert;
    expect(await notes()).toEqual(['a']);
  });

  it('onStatement: a failure cuts the connection and comes back from stop()', async () => {
    const failing = await WireProxy.start(database.url);
    const client = new Client({ connectionString: failing.url });
    client.on('error', () => undefined);
    await client.connect();
    failing.onStatement = () => {
      throw new Error('no');
    };
    await expect(client.query('select 1')).rejects.toThrow(CONNECTION_BROKEN);
    await expect(failing.stop()).rejects.toThrow('WireProxy.onStatement failed');
  });

  it('delayMs: delays each direction by that much, for any number of chunks', async () => {
    const client = await connect();
    proxy.delayMs = 100;
    const startedAt = performance.now();
    await client.query('select length($1)', ['x'.repeat(300_000)]);
    const tookMs = performance.now() - startedAt;
    expect(tookMs).toBeGreaterThanOrEqual(195);
    expect(tookMs).toBeLessThan(1000);
  });
});
