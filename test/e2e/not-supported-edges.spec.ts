import { TransactionPropagation, type EntityManager } from '@mikro-orm/postgresql';

import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { useWorld } from '../support/use-world.js';

const at = useWorld();

const inNone = <T>(work: (em: EntityManager) => Promise<T>): Promise<T> =>
  at.run(() =>
    at.session.transactional(work, { propagation: TransactionPropagation.NOT_SUPPORTED }),
  );

describe('inside of not_supported', () => {
  it.each(['begin', 'start transaction', `begin; insert into note (text) values ('lost')`])(
    'F4: %s is refused: what it begins would be lost with its connection',
    async (sql) => {
      await inNone(async (em) => {
        await em.insert(Note, { text: 'before' });
        await expect(em.execute(sql)).rejects.toMatchObject({
          code: 'INVALID_TRANSACTION_STATE',
          connectionName: 'default',
          message: expect.stringContaining(
            'a plain BEGIN was sent in no transaction, and what it began was undone at once',
          ),
        });
        await em.insert(Note, { text: 'after' });
      });
      expect(await at.world.savedTexts()).toEqual(['before', 'after']);
    },
  );

  it('F2: a text that begins and then fails leaves nothing open, also where its error comes first', async () => {
    const ready = deferred();
    at.world.proxy.onErrorAnswer = () => ready.promise;
    await inNone(async (em) => {
      await expect(em.execute('begin; select 1 / 0')).rejects.toMatchObject({ code: '22012' });
      const next = em.insert(Note, { text: 'after' });
      ready.resolve();
      await next;
    });
    expect(await at.world.savedTexts()).toEqual(['after']);
  });

  it('C6: a text that begins and commits is a transaction of its own', async () => {
    await inNone((em) => em.execute(`begin; insert into note (text) values ('kept'); commit`));
    expect(await at.world.savedTexts()).toEqual(['kept']);
  });

  it('F4: a flush that fails undoes itself alone, and its error is for who awaits it', async () => {
    await inNone(async (em) => {
      await em.insert(Note, { text: 'before' });
      em.persist([new Note('with it'), new Note('before')]);
      await expect(em.flush()).rejects.toMatchObject({
        name: 'UniqueConstraintViolationException',
      });
      em.clear();
      await em.persist(new Note('after')).flush();
    });
    expect(await at.world.savedTexts()).toEqual(['before', 'after']);
  });
});
