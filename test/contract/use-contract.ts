import { defineConfig, type EntityManager, type MikroORM } from '@mikro-orm/postgresql';
import { DbContextModule } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startApp, type TestApp } from '../support/test-app.js';
import { waitFor } from '../support/wait-for.js';
import { Author, ENTITIES } from './contract.entities.js';
import { ADD_ONE, CURSORS, DOUBLED } from './contract.routines.js';
import { DUMP, EXTRAS, RESET } from './contract.fixture.js';
import type { Compare, CompareOptions, Contract, Face, Kit, Scenario } from './contract.types.js';
import { EventRecorder, type RecordedEvent } from './event-recorder.js';
import { plainError, plainValue } from './plain-value.js';
import { COVERED_BY, recordUse } from './surface.js';

const BOTH = ['handle', 'manager'] as const;

interface Outcome {
  readonly result?: unknown;
  readonly error?: unknown;
  readonly statements: readonly string[];
  readonly events: readonly RecordedEvent[];
  readonly rows: unknown;
}

/** @param defaults of the comparisons in this file */
export function useContract(defaults: CompareOptions = {}): Contract {
  const events = new EventRecorder();
  const statements: string[] = [];
  const used = { handle: new Set<string>(), manager: new Set<string>() };
  let database: TestDatabase;
  let app: TestApp;
  let handle: EntityManager;

  beforeAll(async () => {
    database = await createTestDatabase();
    app = await startApp({
      connections: [
        {
          ...defineConfig({
            clientUrl: database.url,
            entities: ENTITIES,
            routines: [ADD_ONE, DOUBLED, CURSORS],
            subscribers: [events.subscriber],
            pool: { min: 0, max: 5 },
            onQuery: (sql, params) => {
              // The server numbers the cursors that it opens.
              const text = sql.replace(/portal \d+/, 'portal');
              statements.push(`${text} ${JSON.stringify(plainValue(params))}`);
              return sql;
            },
          }),
          savepointTimeoutMs: 200,
        },
      ],
      imports: [DbContextModule.forFeature([Author])],
    });
    handle = app.session();
    await database.query(await orm().schema.getCreateSchemaSQL());
    await database.query(EXTRAS);
    recordUse(handle, used.handle);
  });
  afterAll(async () => {
    await app.close();
    await database.drop();
  });
  afterEach(async () => {
    // A connection whose session may hold something is reset before it is given back, for which nobody waits (F7).
    await waitFor(() => app.pool().checkedOut === 0, { what: 'all connections to be given back' });
    expect(app.pool()).toMatchObject({ waiting: 0 });
  });

  const orm = (): MikroORM => app.connection().orm;
  const kitFor = (isSession: boolean): Kit => ({ orm: orm(), app, database, events, isSession });

  async function outcome(
    run: (scenario: (em: EntityManager) => Promise<unknown>) => Promise<unknown>,
    scenario: Scenario,
    isSession: boolean,
    options: CompareOptions,
  ): Promise<Outcome> {
    await database.query(RESET);
    await orm().config.getResultCacheAdapter().clear();
    statements.length = 0;
    events.reset();
    let ended: { result: unknown } | { error: unknown };
    try {
      let result: unknown;
      await run(async (em) => {
        // This is the session, not the handle, which stands for no session any more when the last events come.
        events.em = em.getContext(false);
        result = plainValue(await scenario(em, kitFor(isSession)), em);
      });
      ended = { result };
    } catch (error) {
      ended = { error: plainError(error) };
    }
    const seen = {
      // What a transaction begins with is made up when it begins, so after its first statement.
      statements: statements.filter((sql) => !sql.includes('set_config')),
      events: events.comparable(options.events ?? defaults.events),
    };
    events.reset();
    const [dump] = await database.query<{ rows: string }>(DUMP);
    return { ...ended, ...seen, rows: JSON.parse(dump!.rows) as unknown };
  }

  const runPlain = (scenario: Scenario, options: CompareOptions): Promise<Outcome> =>
    outcome(
      (go) => {
        const fork = orm().em.fork() as EntityManager;
        return (options.plain ?? defaults.plain) === 'fork' ? go(fork) : fork.transactional(go);
      },
      scenario,
      false,
      options,
    );

  const runFace = (face: Face, scenario: Scenario, options: CompareOptions): Promise<Outcome> =>
    outcome((go) => app.dbContext.run(() => go(faceOf(face))), scenario, true, options);

  function faceOf(face: Face): EntityManager {
    if (face === 'handle') {
      return handle;
    }
    // There is none before the first use.
    handle.getContext(false);
    const manager = app.dbContext.getSession()!;
    recordUse(manager, used.manager);
    return manager;
  }

  async function compareFaces(
    faces: readonly Face[],
    scenario: Scenario,
    options: CompareOptions,
  ): Promise<void> {
    const expected = await runPlain(scenario, options);
    expect(expected).toHaveProperty(options.fails === true ? 'error' : 'result');
    for (const face of faces) {
      expect({ face, ...(await runFace(face, scenario, options)) }).toEqual({ face, ...expected });
    }
  }

  async function runOwn(face: Face, scenario: Scenario): Promise<void> {
    await database.query(RESET);
    events.reset();
    await app.dbContext.run(async () => scenario(faceOf(face), kitFor(true)));
  }

  const compare: Compare = (title, scenario, options = {}) => {
    it(title, () => compareFaces(BOTH, scenario, options));
  };
  compare.failure = (title, scenario, options = {}) =>
    compare(title, scenario, { ...options, fails: true });
  compare.each =
    (values) =>
    (title, scenario, options = {}) => {
      it.each(values)(title, (value) =>
        compareFaces(BOTH, (em, kit) => scenario(em, kit, value), options),
      );
    };

  return {
    get kit() {
      return kitFor(true);
    },
    compare,
    own: (title, scenario) => {
      it.each(BOTH)(`${title} (%s)`, (face) => runOwn(face, scenario));
    },
    expectCovered: (spec) => {
      // Jest runs the tests of a block before those of the blocks in it.
      describe('the surface', () => {
        it.each(BOTH)('has been called as far as this file is to cover it (%s)', (face) => {
          const expected = Object.entries(COVERED_BY)
            .filter(([name, by]) => by === spec && !FIELDS.has(name))
            .map(([name]) => name);
          expect(expected.filter((name) => !used[face].has(name))).toEqual([]);
        });
      });
    },
  };
}

/** No call can be seen of these; the spec looks at them by name. */
const FIELDS = new Set(['_id', 'name', 'global', 'config', '~entities']);
