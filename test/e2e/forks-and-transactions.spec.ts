import { TransactionPropagation } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { SessionClosedError } from 'nestjs-db-context';

import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { useWorld } from '../support/use-world.js';

describe('forks that keep the transaction', () => {
  const shared = useWorld();
  const { run, xid } = shared;
  const orm = (): EntityManager => shared.world.connection().orm.em;
  const saved = (): Promise<string[]> => shared.world.savedTexts();
  const keep = { keepTransactionContext: true };

  const origins: [string, () => EntityManager][] = [
    ['session', () => shared.session],
    ['orm.em', orm],
  ];

  describe.each(origins)('%s.fork()', (_, origin) => {
    it.each(['before the first statement', 'after a statement'])(
      'W2: made %s, it is in the transaction of the context, and undone with it',
      async (when) => {
        const undone = run(async () => {
          if (when === 'after a statement') {
            await shared.session.count(Note);
          }
          const fork = origin().fork(keep);
          fork.persist(new Note('flushed'));
          await fork.flush();
          await fork.insert(Note, { text: 'inserted' });
          await fork.transactional((em) => em.insert(Note, { text: 'in a savepoint' }));
          expect(await xid(fork)).toBe(await xid());
          expect(await shared.session.count(Note)).toBe(3);
          throw new RangeError('undo');
        });
        await expect(undone).rejects.toThrow(RangeError);
        expect(await saved()).toEqual([]);
      },
    );

    it('L3: making it takes no connection', async () => {
      await run(async () => {
        origin().fork(keep);
        await Promise.resolve();
        expect(shared.world.pool().checkedOut).toBe(0);
      });
    });

    it('W2: a transaction of its own in it is another one, which stays', async () => {
      const undone = run(async () => {
        const fork = origin().fork(keep);
        const own = await fork.transactional(
          async (em) => {
            await em.insert(Note, { text: 'stays' });
            return xid(em);
          },
          { propagation: TransactionPropagation.REQUIRES_NEW },
        );
        expect(await xid(fork)).toBe(await xid());
        expect(await xid()).not.toBe(own);
        throw new RangeError('undo');
      });
      await expect(undone).rejects.toThrow(RangeError);
      expect(await saved()).toEqual(['stays']);
    });

    it('W2: made inside of requires_new, it is in that transaction', async () => {
      await run(async () => {
        const inner = await shared.session.transactional(
          async (em) => {
            const fork = origin().fork(keep);
            await fork.insert(Note, { text: 'by the fork' });
            expect(await xid(fork)).toBe(await xid(em));
            return xid(fork);
          },
          { propagation: TransactionPropagation.REQUIRES_NEW },
        );
        expect(await xid()).not.toBe(inner);
      });
      expect(await saved()).toEqual(['by the fork']);
    });

    it('S5: used after the end of the context, it is refused and writes nothing', async () => {
      let fork!: EntityManager;
      await run(async () => {
        fork = origin().fork(keep);
        await Promise.resolve();
      });
      await expect(fork.insert(Note, { text: 'late' })).rejects.toThrow(SessionClosedError);
      fork.persist(new Note('late'));
      await expect(fork.flush()).rejects.toThrow(SessionClosedError);
      expect(await saved()).toEqual([]);
    });

    it('S5: it cannot be made by code that goes on after the end of the context', async () => {
      const hasEnded = deferred();
      let late!: Promise<void>;
      await run(async () => {
        await shared.session.count(Note);
        late = hasEnded.promise.then(() => void origin().fork(keep));
      });
      hasEnded.resolve();
      await expect(late).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
    });
  });

  it('L3: orm.em.refresh(), which makes such a fork, takes the connection of the context', async () => {
    const note = await shared.dbContext.newAtomicSession(async (em) => {
      await em.insert(Note, { text: 'there' });
      return em.findOneOrFail(Note, { text: 'there' });
    });
    await run(async () => {
      await orm().refresh(note);
      expect(shared.world.pool().checkedOut).toBe(1);
    });
  });

  it('W2: outside of a context, orm.em forks as MikroORM does', async () => {
    await orm().fork(keep).insert(Note, { text: 'kept' });
    expect(await saved()).toEqual(['kept']);
  });
});

describe('what is pending in the transaction of a fork, as a nested one of it fails', () => {
  const shared = useWorld();
  /** A service, which knows the injected session only. */
  const service = async (text: string): Promise<void> => {
    const { session } = shared;
    session.persist(new Note(text));
    const failed = session.transactional(async () => {
      await session.count(Note);
      throw new RangeError('a part');
    });
    await expect(failed).rejects.toThrow(RangeError);
  };

  it('C6: is saved in session.fork().transactional(), as in the session itself', async () => {
    await shared.run(() => service('of the session'));
    await shared.run(() => shared.session.fork().transactional(() => service('of a fork')));
    expect(await shared.world.savedTexts()).toEqual(['of the session', 'of a fork']);
  });

  it('is lost in orm.em.fork().transactional(), whose transactions are those of MikroORM', async () => {
    const { em } = shared.world.connection().orm;
    await shared.run(() => em.fork().transactional(() => service('lost')));
    expect(await shared.world.savedTexts()).toEqual([]);
  });
});
