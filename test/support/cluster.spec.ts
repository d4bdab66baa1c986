import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';

import { Client, type QueryResultRow } from 'pg';

import { Cluster } from '../../sample/starter/cluster.js';
import { waitFor } from './wait-for.js';

async function query<Row extends QueryResultRow>(url: string, sql: string): Promise<Row[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Row>(sql)).rows;
  } finally {
    await client.end();
  }
}

async function textsOn(url: string): Promise<string[]> {
  return (await query<{ text: string }>(url, 'select text from note order by text')).map(
    ({ text }) => text,
  );
}

const appearsOn = (url: string, text: string): Promise<void> =>
  waitFor(async () => (await textsOn(url)).includes(text), { what: `${text} on a standby` });

/** Whether the process is there, be it as one that has ended and was not waited for. */
function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function isListening(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

describe('a cluster for tests', () => {
  let cluster: Cluster | undefined;

  afterEach(() => cluster?.stop());

  it('a standby has what the primary wrote; it is promoted when the primary is killed, and takes writes', async () => {
    cluster = await Cluster.start();
    const { primaryUrl, standbyUrls, directory, processIds } = cluster;
    const [standbyUrl] = standbyUrls as [string];
    await query(primaryUrl, 'create table note (text text)');
    await query(primaryUrl, `insert into note values ('before')`);
    await waitFor(
      async () =>
        (await query(standbyUrl, `select 1 from pg_class where relname = 'note'`)).length === 1,
      { what: 'the table on the standby' },
    );
    await appearsOn(standbyUrl, 'before');
    await expect(query(standbyUrl, `insert into note values ('too early')`)).rejects.toMatchObject({
      code: '25006',
    });

    await cluster.kill('primary');
    expect(processIds.map(exists)).toEqual([false, true]);
    expect(await isListening(primaryUrl)).toBe(false);
    await cluster.promote(0);
    await query(standbyUrl, `insert into note values ('after')`);
    expect(await textsOn(standbyUrl)).toEqual(['after', 'before']);

    await cluster.restart('primary');
    expect(await textsOn(primaryUrl)).toEqual(['before']);

    expect(existsSync(directory)).toBe(true);
    await cluster.stop();
    expect(processIds.map(exists)).toEqual([false, false]);
    expect([await isListening(primaryUrl), await isListening(standbyUrl)]).toEqual([false, false]);
    expect(existsSync(directory)).toBe(false);
  });

  it('with synchronous replication no acknowledged row is lost, and the other standby follows', async () => {
    cluster = await Cluster.start({ standbys: 2, isSynchronous: true });
    const { primaryUrl, standbyUrls } = cluster;
    const [first, second] = standbyUrls as [string, string];
    expect(
      await query(
        primaryUrl,
        `select distinct sync_state from pg_stat_replication where sync_state = 'sync'`,
      ),
    ).toEqual([{ sync_state: 'sync' }]);
    await query(primaryUrl, 'create table note (text text)');
    await query(primaryUrl, `insert into note values ('acknowledged')`);
    await cluster.kill('primary');
    const lsn = async (url: string): Promise<string> => {
      const [row] = await query<{ lsn: string }>(
        url,
        `select pg_last_wal_receive_lsn() - '0/0' as lsn`,
      );
      return row!.lsn;
    };
    // Whichever has received the most is the one that was waited for.
    const promoted = Number(await lsn(first)) >= Number(await lsn(second)) ? 0 : 1;
    await cluster.promote(promoted);
    const [now, follower] = promoted === 0 ? [first, second] : [second, first];
    expect(await textsOn(now)).toEqual(['acknowledged']);
    await query(now, `insert into note values ('on the new primary')`);
    await appearsOn(follower, 'on the new primary');
  });

  it('a command that it cannot carry out is an error', async () => {
    cluster = await Cluster.start();
    await expect(cluster.promote(1)).rejects.toThrow('there is no standby 1');
    await expect(cluster.promote(0)).resolves.toBeUndefined();
    await expect(cluster.restart('primary')).rejects.toThrow('it runs already');
  });

  it('a cluster that cannot start says why, and leaves nothing', async () => {
    await expect(Cluster.start({ settings: ['max_connections=none'] })).rejects.toThrow(
      /PostgreSQL did not start: .*max_connections/s,
    );
  });
});
