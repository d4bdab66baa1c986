/** Subscribers of flushes hear of that of the handler and of that of the commit, as of two of their own. */
import type { EventSubscriber } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Post, UseInterceptors, type NestInterceptor } from '@nestjs/common';
import { FlushOn, InjectSession } from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';

const PASSING: NestInterceptor = { intercept: (_context, next) => next.handle() };

@Controller()
class NotesController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @UseInterceptors(PASSING)
  @Post('behind-an-interceptor')
  behindAnInterceptor(): void {
    this.session.persist(new Note('by the handler'));
  }

  @Post('alone')
  alone(): void {
    this.session.persist(new Note('by the handler'));
  }

  @FlushOn('commit')
  @UseInterceptors(PASSING)
  @Post('on-commit')
  onCommit(): void {
    this.session.persist(new Note('by the handler'));
  }
}

describe.each<AdapterName>(['express', 'fastify'])('subscribers of flushes, over %s', (adapter) => {
  let world: TestWorld;
  let events: string[] = [];

  /** In the second flush it adds a change, as it may: nothing has changed between the two. */
  const subscriber: EventSubscriber = {
    beforeFlush: ({ em }) => {
      events.push('before');
      if (events.includes('after')) {
        em.persist(new Note('by the subscriber'));
      }
    },
    onFlush: () => void events.push('on'),
    afterFlush: () => void events.push('after'),
  };

  beforeAll(async () => {
    world = await startWorld({}, { adapter, controllers: [NotesController] });
    world.connection().orm.em.getEventManager().registerSubscriber(subscriber);
  });
  afterAll(() => world?.close());
  beforeEach(async () => {
    events = [];
    await world.database.query('truncate note');
  });

  const byHand = (flushes: number): Promise<void> =>
    world
      .connection()
      .orm.em.fork()
      .transactional(async (em) => {
        em.persist(new Note('by the handler'));
        for (let each = 0; each < flushes; each++) {
          await em.flush();
        }
      });

  it.each([
    ['behind-an-interceptor', 1],
    ['alone', 0],
    ['on-commit', 0],
  ])(
    'S3, C6: %s: as in em.transactional() with a flush() at its end: %i',
    async (path, flushes) => {
      expect((await world.fetch(`/${path}`, { method: 'POST' })).status).toBe(201);
      const [ofRequest, saved] = [events, await world.savedTexts()];
      events = [];
      await world.database.query('truncate note');
      await byHand(flushes);
      expect(ofRequest).toEqual(events);
      expect(ofRequest).toHaveLength(3 * (flushes + 1));
      expect(saved).toEqual(await world.savedTexts());
      expect(saved).toEqual(['by the handler', ...(flushes > 0 ? ['by the subscriber'] : [])]);
    },
  );
});
