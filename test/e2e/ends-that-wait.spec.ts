/** Ends that a hook of a flush waits for, by way of code that is no part of the flush, while they wait for that. */
import type { EventSubscriber } from '@mikro-orm/core';
import type { DbContextError } from 'nestjs-db-context';

import { deferred, type Deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

const TIMEOUT_MS = 400;

/** What the next `afterCreate` does. */
let next: (() => unknown) | undefined;

const subscriber: EventSubscriber = {
  afterCreate: async () => {
    const act = next;
    next = undefined;
    await act?.();
  },
};

describe('an end that a flush waits for, and that waits for the flush', () => {
  const current = useWorld(async () => {
    const world = await startWorld({ transactionTimeoutMs: TIMEOUT_MS });
    world.connection().orm.em.getEventManager().registerSubscriber(subscriber);
    return world;
  });
  const swallow = (): undefined => undefined;

  const ENDS: Readonly<Record<string, () => Promise<unknown>>> = {
    'session.commit()': () => current.session.commit(),
    'dbContext.commit()': () => current.dbContext.commit(),
    'dbContext.commitAll()': () => current.dbContext.commitAll(),
    'dbContext.atomic()': () => current.dbContext.atomic(() => undefined),
  };
  const LATER: Readonly<Record<string, () => unknown>> = {
    nothing: swallow,
    'a persist()': () => current.session.persist(new Note('later')),
  };
  const cells = Object.keys(ENDS).flatMap((end) =>
    Object.keys(LATER).map((later) => [end, later] as const),
  );

  it.each(cells)(
    'F4, F6: %s of a branch, all errors swallowed, with %s after it: no success',
    async (end, later) => {
      const mayEnd: Deferred<void> = deferred();
      const work = current.run(async () => {
        const branch = mayEnd.promise.then(() => ENDS[end]!()).catch(swallow);
        next = () => {
          mayEnd.resolve();
          return branch;
        };
        current.session.persist(new Note('flushed'));
        await current.session.flush().catch(swallow);
        LATER[later]!();
      });
      const error = await work.then(
        () => undefined,
        (each: DbContextError) => each.code,
      );
      expect([error, await current.world.savedTexts()]).toEqual([
        expect.stringMatching(/./) as string,
        [],
      ]);
    },
  );
});
