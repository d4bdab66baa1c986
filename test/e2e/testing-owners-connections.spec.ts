import { concurrentBlock } from '../support/concurrent-block.js';
import { Note } from '../support/note.entity.js';
import { noteConnection } from '../support/test-app.js';
import { startWorld } from '../support/test-world.js';

describe('T1: connections beside those of concurrent tests', () => {
  it('are refused where they are left out, and commit where they are named', async () => {
    const world = await startWorld({}, { controllers: [] });
    await world.app.close();
    const other = await startWorld(
      {},
      {
        connections: ['default', 'audit', 'metrics'].map((name) =>
          noteConnection(world.database.url, { name }),
        ),
      },
    );
    const { hooks, db, bodies } = concurrentBlock(() => other.app, {
      connections: ['default'],
      committing: ['metrics'],
    });
    const insert = (name: string): Promise<unknown> =>
      other.dbContext.run(() => other.session(name).insert(Note, { text: name }));
    db.test('', async () => {
      await insert('default');
      await insert('metrics');
      await expect(insert('audit')).rejects.toMatchObject({ reason: 'left-out' });
    });
    await hooks.run('beforeAll');
    await bodies[0]!();
    // Nobody else may have seen the error.
    await expect(hooks.run('afterAll')).rejects.toMatchObject({ reason: 'left-out' });
    expect(await world.savedTexts()).toEqual(['metrics']);
    await other.close();
    await world.proxy.stop();
    await world.database.drop();
  });
});
