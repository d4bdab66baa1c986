import { setTimeout as delay } from 'node:timers/promises';

import type { EntityManager } from '@mikro-orm/postgresql';
import { Body, Controller, Get, Post } from '@nestjs/common';
import { DbContext, InjectSession } from 'nestjs-db-context';
import {
  expectNoOpenConnections,
  useTestTransaction,
  type ConcurrentTestTransactions,
} from 'nestjs-db-context/testing';

import { concurrentBlock } from '../support/concurrent-block.js';
import { Note } from '../support/note.entity.js';
import { RunnerHooks } from '../support/runner-hooks.js';
import { startWorld, type TestWorld } from '../support/test-world.js';

const TESTS = 24;
const ROUNDS = 20;
/** How many tests wait, and for how long: enough to outweigh what all of them compute in one process. */
const WAITING = 12;
const WAIT_MS = 300;

@Controller('notes')
class NotesController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Post()
  async add(@Body() { text }: { text: string }): Promise<void> {
    this.session.persist(new Note(text));
    this.dbContext.onCommit(() => this.session.insert(Note, { text: `mail on ${text}` }));
  }

  @Get()
  async texts(): Promise<string[]> {
    const notes = await this.session.find(Note, {}, { orderBy: { id: 'asc' } });
    return notes.map(({ text }) => text);
  }

  /** As one that waits for another service. */
  @Get('slow')
  async slow(): Promise<number> {
    await delay(WAIT_MS);
    return this.session.count(Note);
  }
}

describe.each(['express', 'fastify'] as const)(
  'tests that run at the same time on one application, over %s',
  (adapter) => {
    let world: TestWorld;

    beforeAll(async () => {
      world = await startWorld({ poolMax: TESTS }, { adapter, controllers: [NotesController] });
    });
    afterAll(async () => {
      expect(await world.savedTexts()).toEqual([]);
      expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
      await world.close();
    });

    const insert = (text: string, em: EntityManager = world.session()): Promise<unknown> =>
      em.insert(Note, { text });
    const post = (text: string, headers: Readonly<Record<string, string>>): Promise<Response> =>
      world.fetch('/notes', {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify({ text }),
      });
    const textsOf = async (db: ConcurrentTestTransactions): Promise<unknown> =>
      (await world.fetch('/notes', { headers: db.headers() })).json();

    /** Writes in all the ways in which a test does, and finds what it wrote, and nothing else. */
    const writesItsOwn = async (db: ConcurrentTestTransactions, name: string): Promise<void> => {
      await insert(`${name} prepared`, db.session());
      expect((await post(`${name} posted`, db.headers())).status).toBe(201);
      await world.dbContext.run(() => insert(`${name} by a service`));
      await insert(`${name} by a fork`, world.connection().orm.em.fork());
      const own = ['prepared', 'posted', 'by a service', 'by a fork'].map(
        (each) => `${name} ${each}`,
      );
      const expected = [...own.slice(0, 2), `mail on ${name} posted`, ...own.slice(2)];
      expect(await textsOf(db)).toEqual(expected);
      expect(await db.session().count(Note)).toBe(5);
      expect(db.openTransactions).toBe(0);
      expectNoOpenConnections(world.app);
    };

    describe('registered with Jest', () => {
      const db = useTestTransaction(() => world.app, { concurrent: true });

      for (const n of Array.from({ length: 6 }).keys()) {
        db.test(`T1: writes and counts its own rows (${n})`, () => writesItsOwn(db, `test ${n}`));
      }
    });

    // The server makes no difference to the number of tests, so that one of the two has all rounds.
    const rounds = adapter === 'express' ? ROUNDS : 1;
    it(`T1: ${TESTS} at the same time, ${rounds} times over, commit nothing`, async () => {
      const { hooks, db, bodies } = concurrentBlock(() => world.app);
      for (const n of Array.from({ length: TESTS }).keys()) {
        db.test('writes its own', async () => {
          expect((await post(`test ${n}`, db.headers())).status).toBe(201);
          expect(await world.dbContext.run(() => world.session().count(Note))).toBe(2);
          expect(await db.session().count(Note, { text: `test ${n}` })).toBe(1);
        });
      }
      await hooks.run('beforeAll');
      for (let round = 1; round <= rounds; round++) {
        await Promise.all(bodies.map((body) => body()));
        expect(await world.savedTexts()).toEqual([]);
      }
      await hooks.run('afterAll');
    }, 60_000);
  },
);

describe('tests that wait', () => {
  it('take less than half the time where they run at the same time', async () => {
    const world = await startWorld({ poolMax: WAITING }, { controllers: [NotesController] });
    const names = Array.from({ length: WAITING }, (_, n) => `test ${n}`);
    const waits = async (
      name: string,
      headers: Readonly<Record<string, string>>,
    ): Promise<void> => {
      const sent = { headers: { 'content-type': 'application/json', ...headers } };
      const body = JSON.stringify({ text: name });
      await world.fetch('/notes', { method: 'POST', ...sent, body });
      expect(await (await world.fetch('/notes/slow', sent)).json()).toBe(2);
    };
    const tookMs = async (work: () => Promise<void>): Promise<number> => {
      const startedAt = performance.now();
      await work();
      return Math.round(performance.now() - startedAt);
    };

    const inTurn = new RunnerHooks();
    useTestTransaction(() => world.app, inTurn.options);
    await inTurn.run('beforeAll');
    const oneByOneMs = await tookMs(async () => {
      for (const name of names) {
        await inTurn.runTest(() => waits(name, {}));
      }
    });
    await inTurn.run('afterAll');

    const { hooks: together, db, bodies } = concurrentBlock(() => world.app);
    names.forEach((name) => db.test(name, () => waits(name, db.headers())));
    await together.run('beforeAll');
    const togetherMs = await tookMs(async () => {
      await Promise.all(bodies.map((body) => body()));
    });
    await together.run('afterAll');

    process.stdout.write(
      `${WAITING} tests that wait ${WAIT_MS} ms: one after another ${oneByOneMs} ms, ` +
        `at the same time ${togetherMs} ms\n`,
    );
    expect(oneByOneMs / togetherMs).toBeGreaterThan(2);
    expect(await world.savedTexts()).toEqual([]);
    await world.close();
  });
});
