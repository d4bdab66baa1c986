import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Cluster } from '../../sample/starter/cluster.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';

// Paths are not the same in upper and lower case, and may have what names of hosts may not.
describe.each(['CamelCase-', 'With Space-'])('a Unix socket in a directory %j', (prefix) => {
  let directory: string;
  let server: Cluster;
  let database: TestDatabase;
  let app: TestApp;
  /** Host and port, as `connection.host` has them. */
  let socket: string;
  let overTcp: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), prefix));
    // The server is another user than this process, if that is root.
    await chmod(directory, 0o777);
    const settings = [`unix_socket_directories="${directory}"`];
    server = await Cluster.start({ standbys: 0, settings });
    database = await createTestDatabase(server.primaryUrl);
    await database.query(NOTE_SCHEMA);
    const { host, port } = new URL(database.url);
    overTcp = host;
    socket = `${directory}:${port}`;
  });
  beforeEach(async () => {
    await database.query('truncate note');
    const url = new URL(database.url);
    url.hostname = encodeURIComponent(directory);
    app = await startApp({ connections: [noteConnection(url.href)] });
  });
  afterEach(() => app.close());
  afterAll(async () => {
    await database.drop();
    await server.stop();
    await rm(directory, { recursive: true });
  });

  const insert = (text: string): Promise<unknown> =>
    app.dbContext.run(() => app.session().insert(Note, { text }));
  const texts = async (): Promise<string[]> =>
    (await database.query<{ text: string }>('select text from note order by text')).map(
      ({ text }) => text,
    );

  it('H1: is the host as it was given, and the same host when it is given back', async () => {
    const connection = app.connection();
    await insert('before');
    expect(connection.host).toBe(socket);
    const pool = await connection.pool();
    await connection.changeHost(connection.host);
    expect(await connection.pool()).toBe(pool);
    await insert('still');
    expect(await texts()).toEqual(['before', 'still']);
  });

  it('H1: can be changed from, and changed back to', async () => {
    const connection = app.connection();
    const { host } = connection;
    await connection.changeHost(overTcp);
    await insert('over TCP');
    await connection.changeHost(host);
    await insert('over the socket');
    expect(connection.host).toBe(socket);
    expect(await texts()).toEqual(['over TCP', 'over the socket']);
  });
});
