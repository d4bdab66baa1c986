/** What the log says of a failure that has no caller names the connection, and the route or job that it is of. */
import type { EntityManager, EventSubscriber } from '@mikro-orm/postgresql';
import { Controller, Post } from '@nestjs/common';
import { DbContext, InjectSession } from 'nestjs-db-context';

import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

const EVENTS = ['afterTransactionCommit', 'afterTransactionRollback'] as const;

/** The events that the subscriber fails in. */
let failing: readonly string[] = [];

const SUBSCRIBER = Object.fromEntries(
  EVENTS.map((event) => [
    event,
    async () => {
      if (failing.includes(event)) {
        throw new Error(`${event} failed`);
      }
    },
  ]),
) as unknown as EventSubscriber;

@Controller()
class FaultController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Post('save')
  async save(): Promise<void> {
    await this.session.insert(Note, { text: 'saved' });
  }

  @Post('undo')
  async undo(): Promise<void> {
    await this.session.insert(Note, { text: 'undone' });
    await this.session.rollback();
  }

  @Post('set')
  async set(): Promise<void> {
    await this.session.execute(`set app.tenant = 'a'`);
  }

  @Post('read')
  async read(): Promise<void> {
    await this.session.execute('select * from note');
  }

  @Post('each')
  async each(): Promise<void> {
    const fails = (text: string) => () => Promise.reject(new Error(text));
    await this.dbContext
      .runAllInNewContexts([fails('first'), fails('second')], { concurrency: 2 })
      .catch(() => undefined);
  }
}

describe('O1: the log names the route of a failure that has no caller', () => {
  let world: TestWorld;
  let log: LogRecorder;

  const start = async (limits: Parameters<typeof startWorld>[0] = {}): Promise<void> => {
    log = new LogRecorder();
    world = await startWorld(limits, {
      controllers: [FaultController],
      configure: (app) => app.useLogger(log),
    });
    world.connection().orm.em.getEventManager().registerSubscriber(SUBSCRIBER);
  };
  const post = async (path: string): Promise<number> =>
    (await world.fetch(path, { method: 'POST' })).status;
  const reports = (): readonly string[] =>
    log.ofLibrary('error').map((line) => line.split('\nSee ')[0]!);

  afterEach(async () => {
    failing = [];
    world.proxy.heal();
    await waitFor(() => world.pool().checkedOut === 0, { what: 'the connection to be back' });
    await world.close();
  });

  it.each([
    ['afterTransactionCommit', 'save', ['saved']],
    ['afterTransactionRollback', 'undo', []],
  ] as const)('a subscriber of %s', async (event, path, saved) => {
    await start();
    failing = [event];
    expect(await post(`/${path}`)).toBe(201);
    expect(reports()).toEqual([
      `a subscriber of ${event} on connection "default" in the context of FaultController.${path} failed: ` +
        `${event} failed`,
    ]);
    expect(await world.savedTexts()).toEqual(saved);
  });

  it('a subscriber in a job', async () => {
    await start();
    failing = ['afterTransactionCommit'];
    await world.dbContext.run(() => world.session().insert(Note, { text: 'saved' }), {
      name: 'ReportJob.process',
    });
    expect(reports()).toEqual([
      'a subscriber of afterTransactionCommit on connection "default" in the context of ReportJob.process ' +
        'failed: afterTransactionCommit failed',
    ]);
  });

  it('session state that could not be reset', async () => {
    await start();
    world.proxy.cutBefore(/^discard all/);
    expect(await post('/set')).toBe(201);
    await waitFor(() => reports().length > 0, { what: 'the report' });
    expect(reports()).toEqual([
      expect.stringMatching(
        /^the session state of a client of connection "default" in the context of FaultController\.set could not be reset, so the client was closed: /,
      ),
    ]);
  });

  it('a catalogue that gave no answer', async () => {
    await start({ transaction: { begin: 'first-write' } });
    world.proxy.cutBefore(/pg_catalog\.pg_operator/);
    await post('/read');
    expect(reports()).toEqual([
      expect.stringMatching(
        /^the catalogue of connection "default" in the context of FaultController\.read gave no answer, so a read begins its transaction although the option is begin: 'first-write': /,
      ),
    ]);
  });

  it('a further function of runAllInNewContexts()', async () => {
    await start();
    expect(await post('/each')).toBe(201);
    expect(reports()).toEqual([
      'a further function of runAllInNewContexts() in the context of FaultController.each failed: second',
    ]);
  });
});
