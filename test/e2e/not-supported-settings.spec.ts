import { TransactionPropagation, type EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get } from '@nestjs/common';
import { DbTransaction, InjectSession, type DbContextError } from 'nestjs-db-context';

import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Note, NOTE_SCHEMA } from '../support/note.entity.js';
import { noteConnection, startApp, type TestApp } from '../support/test-app.js';

const { NOT_SUPPORTED, REQUIRES_NEW } = TransactionPropagation;
const REFUSAL = {
  code: 'INVALID_TRANSACTION_STATE',
  message: expect.stringContaining(
    'propagation "not_supported" was asked for, and the connection or the route has a role or session variables',
  ),
};

@Controller()
class RouteController {
  constructor(@InjectSession('plain') private readonly session: EntityManager) {}

  @DbTransaction({ connection: 'plain', sessionVariables: { 'app.tenant': 'a' } })
  @Get('bound')
  async bound(): Promise<unknown> {
    return this.session
      .transactional((em) => em.execute('select 1'), { propagation: NOT_SUPPORTED })
      .catch(({ code, message }: DbContextError) => ({ code, message }));
  }
}

describe('not_supported, where rows are guarded by a role or by session variables', () => {
  let database: TestDatabase;
  let app: TestApp;

  beforeAll(async () => {
    database = await createTestDatabase();
    await database.query(NOTE_SCHEMA);
    app = await startApp({
      connections: [
        noteConnection(database.url, { name: 'plain' }),
        noteConnection(database.url, { name: 'role', role: 'pg_monitor' }),
        noteConnection(database.url, {
          name: 'variables',
          sessionVariables: () => ({ 'app.tenant': 'a' }),
        }),
        noteConnection(database.url, {
          name: 'transaction',
          transaction: { sessionVariables: { 'app.tenant': 'a' } },
        }),
      ],
      controllers: [RouteController],
    });
  });
  afterAll(async () => {
    await app?.close();
    await database?.drop();
  });

  it.each(['role', 'variables', 'transaction'])(
    'C7: is refused before its callback runs: %s',
    async (name) => {
      let hasRun = false;
      await app.dbContext.run(async () => {
        await expect(
          app.session(name).transactional(
            async (em) => {
              hasRun = true;
              await em.insert(Note, { text: 'of another tenant' });
            },
            { propagation: NOT_SUPPORTED },
          ),
        ).rejects.toMatchObject({ ...REFUSAL, connectionName: name });
        // The session goes on, and so does what the message names instead.
        const seen = `select current_setting('app.tenant', true) as tenant, current_user::text as who`;
        const own = await app.session(name).execute(seen);
        expect(
          await app
            .session(name)
            .transactional((em) => em.execute(seen), { propagation: REQUIRES_NEW }),
        ).toEqual(own);
      });
      expect(hasRun).toBe(false);
    },
  );

  it('C7: so it is where the route has set them', async () => {
    expect(await (await app.fetch('/bound')).json()).toMatchObject(REFUSAL);
  });

  it('C6: it runs where there are none', async () => {
    const rows = await app.dbContext.run(() =>
      app
        .session('plain')
        .transactional((em) => em.execute('select 1 as one'), { propagation: NOT_SUPPORTED }),
    );
    expect(rows).toEqual([{ one: 1 }]);
  });
});
