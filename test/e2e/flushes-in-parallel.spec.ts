import { Controller, Post } from '@nestjs/common';
import type { EntityManager, EventSubscriber } from '@mikro-orm/core';
import { InjectSession, UnexpectedRollbackError } from 'nestjs-db-context';

import { deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

const TEXTS = ['a', 'b', 'c', 'd'];

/** MikroORM flushes before the last query, because a note waits to be inserted. */
async function readPersistRead(em: EntityManager, text: string): Promise<void> {
  await em.findOne(Note, { text: 'nobody' });
  em.persist(new Note(text));
  await em.findOne(Note, { text: 'nobody else' });
}

const WAYS: Record<string, (em: EntityManager, text: string) => Promise<unknown>> = {
  'an automatic flush': readPersistRead,
  'persist().flush()': (em, text) => em.persist(new Note(text)).flush(),
  'create() and a read': async (em, text) => {
    em.create(Note, { text });
    await em.find(Note, { text });
  },
  'a persist() after a read, with no flush of its own': async (em, text) => {
    await em.find(Note, {}, { flushMode: 'commit' });
    em.persist(new Note(text));
  },
};

const inParallel = (branch: (text: string) => Promise<unknown>): Promise<unknown> =>
  Promise.all(TEXTS.map(branch));

@Controller()
class NotesController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post('notes')
  async write(): Promise<void> {
    await inParallel((text) => readPersistRead(this.session, text));
  }
}

describe('flushes of parallel branches', () => {
  const current = useWorld(() => startWorld({}, { controllers: [NotesController] }));

  const savedTexts = async (): Promise<string[]> => (await current.world.savedTexts()).toSorted();

  describe.each(Object.entries(WAYS))('%s', (_, way) => {
    it('S3, F5: what each branch persisted is saved', async () => {
      await current.run(() => inParallel((text) => way(current.session, text)));
      expect(await savedTexts()).toEqual(TEXTS);
    });

    it('S3, F5: so it is inside of transactional()', async () => {
      await current.run(() =>
        current.session.transactional((em) => inParallel((text) => way(em, text))),
      );
      expect(await savedTexts()).toEqual(TEXTS);
    });

    it('S3, F5: so it is on a fork of the session, which is flushed at its end', async () => {
      await current.run(async () => {
        const fork = current.session.fork();
        await inParallel((text) => way(fork, text));
        await fork.flush();
      });
      expect(await savedTexts()).toEqual(TEXTS);
    });

    it('S3, F5: so it is as on plain MikroORM, where a flush comes last', async () => {
      const plain = current.world.connection().orm.em.fork();
      await plain.transactional((em) =>
        inParallel(async (text) => {
          await way(em, text);
          await em.flush();
        }),
      );
      expect(await savedTexts()).toEqual(TEXTS);
    });
  });

  it('S3, F5: so it is over HTTP', async () => {
    const { status } = await current.world.fetch('/notes', { method: 'POST' });
    expect([status, await savedTexts()]).toEqual([201, TEXTS]);
  });

  it('S3, F5: what branches remove is removed', async () => {
    await current.world.database.query(`insert into note (text) values ('a'), ('b'), ('c'), ('d')`);
    await current.run(() =>
      inParallel(async (text) => {
        const note = await current.session.findOneOrFail(Note, { text });
        current.session.remove(note);
        expect(await current.session.count(Note, { text })).toBe(0);
      }),
    );
    expect(await savedTexts()).toEqual([]);
  });

  /** Starts a flush, and returns when it has computed what it writes and has not written it yet. */
  async function startFlush(): Promise<{ readonly end: () => Promise<void> }> {
    const [computed, mayWrite] = [deferred(), deferred()];
    const em = current.session.getContext(false);
    let isFirst = true;
    em.getEventManager().registerSubscriber({
      beforeCreate: async () => {
        if (isFirst) {
          isFirst = false;
          computed.resolve();
          await mayWrite.promise;
        }
      },
    });
    em.persist(new Note('first'));
    const flushing = em.flush();
    await computed.promise;
    return {
      end: () => {
        mayWrite.resolve();
        return flushing;
      },
    };
  }

  it('S3, F5: what is persisted or removed while another branch flushes is not forgotten', async () => {
    await current.world.database.query(`insert into note (text) values ('old')`);
    await current.run(async () => {
      const old = await current.session.findOneOrFail(Note, { text: 'old' });
      const flushing = await startFlush();
      current.session.persist(new Note('second'));
      current.session.remove(old);
      await flushing.end();
      expect(await current.session.count(Note, { text: ['old', 'second'] })).toBe(1);
    });
    expect(await savedTexts()).toEqual(['first', 'second']);
  });

  it('S3: clear() while another branch flushes forgets what waits, and nothing later', async () => {
    await current.run(async () => {
      const flushing = await startFlush();
      current.session.persist(new Note('forgotten'));
      current.session.clear();
      current.session.persist(new Note('second'));
      await flushing.end();
    });
    expect(await savedTexts()).toEqual(['first', 'second']);
  });
});

describe('a flush that fails while another one waits', () => {
  const [computed, failing] = [deferred(), deferred()];
  const subscriber: EventSubscriber = {
    beforeCreate: async ({ entity }) => {
      if ((entity as Note).text === 'bad') {
        computed.resolve();
        await failing.promise;
        throw new Error('no bad notes');
      }
    },
  };
  const current = useWorld();

  it('S3, F5: rejects that one, too: it had taken the entities of both', async () => {
    let results: PromiseSettledResult<void>[] = [];
    const settled = current.run(async () => {
      const em = current.session.getContext(false);
      em.getEventManager().registerSubscriber(subscriber);
      em.persist(new Note('bad'));
      em.persist(new Note('of another branch'));
      const flushes = [em.flush(), em.flush()];
      await computed.promise;
      em.persist(new Note('late'));
      failing.resolve();
      results = await Promise.allSettled(flushes);
    });
    // F4: what the flush was to write is lost, so the rest is not saved without it.
    await expect(settled).rejects.toMatchObject({
      constructor: UnexpectedRollbackError,
      reason: 'failed-flush',
      cause: new Error('no bad notes'),
    });
    expect(results.map((each) => (each as PromiseRejectedResult).reason as unknown)).toEqual([
      new Error('no bad notes'),
      new Error('no bad notes'),
    ]);
    expect(await current.world.savedTexts()).toEqual([]);
  });

  it('S3, F4: a flush that is asked for after a rollback runs', async () => {
    await current.run(async () => {
      current.session.persist(new Note('bad'));
      await expect(current.session.flush()).rejects.toThrow('no bad notes');
      await current.session.rollback();
      await current.session.persist(new Note('good')).flush();
    });
    expect(await current.world.savedTexts()).toEqual(['good']);
  });
});

describe('a nested transaction that begins while another branch flushes', () => {
  const current = useWorld();

  it.each(['onFlush', 'beforeUpdate'])('S3, F5: takes nothing away from it (%s)', async (event) => {
    const [computed, gate] = [deferred(), deferred()];
    await current.run(() => current.insert('before'));
    await current.run(async () => {
      const em = current.session.getContext(false);
      const note = await em.findOneOrFail(Note, { text: 'before' });
      em.getEventManager().registerSubscriber({
        [event]: async () => {
          computed.resolve();
          await gate.promise;
        },
      });
      note.text = 'changed';
      const flushed = em.flush();
      await computed.promise;
      const nested = em.transactional((inner) => inner.insert(Note, { text: 'nested' }));
      gate.resolve();
      await Promise.all([flushed, nested]);
      expect(await em.execute('select text from note order by text')).toEqual([
        { text: 'changed' },
        { text: 'nested' },
      ]);
      note.text = 'changed again';
    });
    expect(await current.world.savedTexts()).toEqual(['changed again', 'nested']);
  });
});
