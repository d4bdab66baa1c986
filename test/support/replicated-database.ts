import { Client, type QueryResultRow } from 'pg';

import { Cluster } from '../../sample/starter/cluster.js';
import { NOTE_SCHEMA } from './note.entity.js';
import { waitFor } from './wait-for.js';

/** A cluster whose database `postgres` has the table of notes, and a direct view on its servers. */
export interface ReplicatedDatabase {
  readonly cluster: Cluster;
  readonly ports: { readonly primary: number; readonly standbys: readonly number[] };
  query<Row extends QueryResultRow>(server: 'primary' | number, sql: string): Promise<Row[]>;
  /** Waits until standbys have all that the primary has. */
  caughtUp(...standbys: readonly number[]): Promise<void>;
  /** Keeps a standby as it is now, from when this resolves. */
  pause(standby: number): Promise<void>;
  resume(standby: number): Promise<void>;
}

const portOf = (url: string): number => Number(new URL(url).port);

export async function startReplicated(standbys: number): Promise<ReplicatedDatabase> {
  const cluster = await Cluster.start({ standbys });
  const query = async <Row extends QueryResultRow>(
    server: 'primary' | number,
    sql: string,
  ): Promise<Row[]> => {
    const url = server === 'primary' ? cluster.primaryUrl : cluster.standbyUrls[server]!;
    const client = new Client({ connectionString: url });
    await client.connect();
    try {
      return (await client.query<Row>(sql)).rows;
    } finally {
      await client.end();
    }
  };
  const database: ReplicatedDatabase = {
    cluster,
    ports: { primary: portOf(cluster.primaryUrl), standbys: cluster.standbyUrls.map(portOf) },
    query,
    caughtUp: async (...which) => {
      const [row] = await query<{ lsn: string }>(
        'primary',
        'select pg_current_wal_flush_lsn()::text as lsn',
      );
      for (const standby of which) {
        await waitFor(
          async () => {
            const [answer] = await query<{ is: boolean }>(
              standby,
              `select pg_last_wal_replay_lsn() >= '${row!.lsn}'::pg_lsn as is`,
            );
            return answer!.is;
          },
          { what: `standby ${standby} to catch up` },
        );
      }
    },
    pause: async (standby) => {
      await query(standby, 'select pg_wal_replay_pause()');
      await waitFor(
        async () => {
          const [row] = await query<{ state: string }>(
            standby,
            'select pg_get_wal_replay_pause_state() as state',
          );
          return row!.state === 'paused';
        },
        { what: `the replay of standby ${standby} to pause` },
      );
    },
    resume: async (standby) => {
      await query(standby, 'select pg_wal_replay_resume()');
    },
  };
  await query('primary', NOTE_SCHEMA);
  await database.caughtUp(...cluster.standbyUrls.keys());
  return database;
}
