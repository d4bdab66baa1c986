import type { EntityManager } from '@mikro-orm/postgresql';
import { Body, Controller, Injectable, Post } from '@nestjs/common';
import { DbContext, InjectSession } from 'nestjs-db-context';
import { PgBoss } from 'pg-boss';

import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

interface NoteData {
  readonly text: string;
}

/** The outbox of docs/jobs.md: a job is a row of the transaction that its work is in. */
@Injectable()
class Outbox {
  constructor(
    private readonly boss: PgBoss,
    private readonly dbContext: DbContext,
  ) {}

  async send(name: string, data: object): Promise<string | null> {
    return this.dbContext.withClient((client) =>
      this.boss.send(name, data, {
        db: { executeSql: (text, values = []) => client.query(text, values) },
      }),
    );
  }
}

@Controller()
class NoteController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly outbox: Outbox,
  ) {}

  @Post('save')
  async save(@Body() { text }: NoteData): Promise<void> {
    await this.session.insert(Note, { text });
    await this.outbox.send('notes', { text });
  }

  @Post('fail')
  async fail(@Body() data: NoteData): Promise<void> {
    await this.save(data);
    throw new Error('after the job was added');
  }

  /** The duplicate is found by the COMMIT. */
  @Post('twice')
  async twice(@Body() data: NoteData): Promise<void> {
    await this.session.execute('set constraints all deferred');
    await this.save(data);
    await this.session.insert(Note, data);
  }

  @Post('savepoint')
  async savepoint(@Body() data: NoteData): Promise<void> {
    await this.save(data);
    await this.session
      .transactional(async () => {
        await this.save({ text: 'undone' });
        throw new Error('undo');
      })
      .catch(() => undefined);
  }
}

describe('an outbox of pg-boss', () => {
  let world: TestWorld;
  let boss: PgBoss;

  beforeAll(async () => {
    world = await startWorld(
      {},
      {
        controllers: [NoteController],
        // The database is made with the world, and pg-boss needs it.
        providers: [Outbox, { provide: PgBoss, useFactory: () => new Proxy({} as PgBoss, late) }],
      },
    );
    boss = new PgBoss({
      connectionString: world.database.url,
      max: 2,
      supervise: false,
      schedule: false,
    });
    await boss.start();
    await boss.createQueue('notes');
  });
  afterAll(async () => {
    await boss?.stop({ graceful: false });
    await world.close();
  });
  beforeEach(async () => {
    await world.database.query('truncate note restart identity');
    await boss.deleteAllJobs('notes');
  });

  const late: ProxyHandler<PgBoss> = {
    get: (_target, key) => {
      const value: unknown = Reflect.get(boss ?? {}, key);
      return typeof value === 'function' ? value.bind(boss) : value;
    },
  };
  const post = async (path: string, text: string): Promise<number> => {
    const response = await world.fetch(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ text }),
    });
    return response.status;
  };
  /** The jobs that are really saved, each with whether it is of the transaction of its note. */
  const jobs = (): Promise<unknown[]> =>
    world.database.query(
      `select job.data->>'text' as text, job.xmin::text = note.xid::text as "isSameTransaction"
       from pgboss.job left join note on note.text = job.data->>'text' order by 1`,
    );

  it('W1: the row of the job and the row of the work are of one transaction', async () => {
    expect(await post('/save', 'saved')).toBe(201);
    expect(await world.savedTexts()).toEqual(['saved']);
    expect(await jobs()).toEqual([{ text: 'saved', isSameTransaction: true }]);
  });

  it.each([
    ['a handler that throws', '/fail'],
    ['a COMMIT that fails', '/twice'],
  ])('W1: both are rolled back by %s', async (_name, path) => {
    expect(await post(path, 'undone')).toBe(500);
    expect([await world.savedTexts(), await jobs()]).toEqual([[], []]);
  });

  it('W1: both are undone with a savepoint', async () => {
    expect(await post('/savepoint', 'outer')).toBe(201);
    expect((await jobs()).map((job) => (job as NoteData).text)).toEqual(['outer']);
    expect(await world.savedTexts()).toEqual(['outer']);
  });

  it('W1: a worker sees the row, in a context of its own', async () => {
    const seen: unknown[] = [];
    const options = { pollingIntervalSeconds: 0.5 };
    const worker = await boss.work<NoteData>('notes', options, async ([job]) => {
      await world.dbContext.run(
        async () => {
          const { text } = job!.data;
          seen.push([text, await world.session().count(Note, { text })]);
        },
        { name: 'the job notes' },
      );
    });
    expect(await post('/save', 'for the worker')).toBe(201);
    await waitFor(() => seen.length > 0, { what: 'the worker' });
    expect(seen).toEqual([['for the worker', 1]]);
    await boss.offWork('notes', { id: worker });
  });
});
