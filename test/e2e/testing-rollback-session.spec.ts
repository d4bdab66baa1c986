import { expectCommitted, openRollbackSession, recordContexts } from 'nestjs-db-context/testing';

import { useWorld } from '../support/use-world.js';
import { Note } from '../support/note.entity.js';

describe('openRollbackSession() while contexts are recorded', () => {
  const shared = useWorld();

  // It is "in no context" by its documentation, as are the sessions of newSession().
  it('is not among the contexts that end', async () => {
    const { world } = shared;
    const ended = await recordContexts(world.app, async () => {
      const own = openRollbackSession(world.app);
      await own.session.insert(Note, { text: 'of the test' });
      await own.session.commit();
      await own.close();
      await shared.run(() => shared.insert('of the application'));
    });
    expect(ended).toEqual([{ outcome: 'committed', connections: ['default'] }]);
  });

  it('does not make expectCommitted() fail', async () => {
    const { world } = shared;
    await expectCommitted(world.app, async () => {
      await using own = openRollbackSession(world.app);
      await own.session.count(Note);
      await shared.run(() => shared.insert('of the application'));
    });
  });

  it('newSession() as well is not among them', async () => {
    const { world } = shared;
    const ended = await recordContexts(world.app, () =>
      world.dbContext.newSession((em) => em.count(Note)),
    );
    expect(ended).toEqual([]);
  });
});
