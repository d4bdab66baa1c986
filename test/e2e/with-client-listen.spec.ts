import type { Notification, PoolClient } from 'pg';

import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

describe('LISTEN and NOTIFY on the client of withClient()', () => {
  const at = useWorld(() => startWorld({ poolMax: 1 }));
  const client = <T>(work: (client: PoolClient) => Promise<T>): Promise<T> =>
    at.dbContext.withClient((lent: PoolClient) => work(lent));
  const backend = async (): Promise<unknown> =>
    (await at.session.execute<{ pid: number }[]>('select pg_backend_pid() as pid'))[0]!.pid;
  const channels = (): Promise<unknown> =>
    at.session.execute('select pg_listening_channels() as channel');

  it('F7: it hears what it listens to, and the next request of the connection listens to nothing', async () => {
    const heard: Notification[] = [];
    const first = await at.run(async () => {
      await client(async (lent) => {
        lent.on('notification', (each) => heard.push(each));
        await lent.query('listen news');
        await lent.query(`notify news, 'of itself'`);
        // Both take effect at a commit, which the callback cannot wait for: it is in the transaction.
        await lent.query('select 1');
      });
      expect(heard).toEqual([]);
      return backend();
    });

    const later = await at.run(async () => {
      // The listener has gone with the callback, and the channel with the reset of the connection.
      expect(await channels()).toEqual([]);
      await at.world.database.query(`notify news, 'of another'`);
      await at.session.execute('select 1');
      return backend();
    });
    expect(later).toBe(first);
    expect(heard).toEqual([]);
    expect(at.world.proxy.log.filter((sql) => sql === 'discard all')).toHaveLength(1);
  });
});
