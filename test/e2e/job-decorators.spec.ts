import type { EntityManager } from '@mikro-orm/postgresql';
import { Injectable } from '@nestjs/common';
import {
  Atomic,
  CommitOn,
  DbContext,
  DbTransaction,
  InjectSession,
  InvalidOptionsError,
  InvalidTransactionStateError,
  NewDbContext,
  RetryOnSerializationFailure,
  WithDbContext,
} from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';

const FAIL_SERIALIZATION = "do $$ begin raise exception 'met' using errcode = '40001'; end $$";

abstract class Base {
  attempts = 0;

  constructor(
    readonly session: EntityManager,
    readonly dbContext: DbContext,
  ) {}

  async level(): Promise<string> {
    const [row] = await this.session.execute<{ transaction_isolation: string }[]>(
      'show transaction_isolation',
    );
    return row!.transaction_isolation;
  }

  async write(text: string): Promise<void> {
    await this.session.insert(Note, { text });
  }

  /** Fails as transactions do that met, until the last attempt. */
  async meet(text: string): Promise<void> {
    await this.write(text);
    if (++this.attempts < 3) {
      await this.session.execute(FAIL_SERIALIZATION);
    }
  }
}

@Injectable()
class Jobs extends Base {
  constructor(@InjectSession() session: EntityManager, dbContext: DbContext) {
    super(session, dbContext);
  }

  @DbTransaction({ isolationLevel: 'serializable' })
  @WithDbContext()
  async above(): Promise<string[]> {
    const first = await this.level();
    await this.dbContext.commit();
    return [first, await this.level()];
  }

  @WithDbContext()
  @DbTransaction({ isolationLevel: 'serializable' })
  async below(): Promise<string> {
    return this.level();
  }
}

@DbTransaction({ isolationLevel: 'repeatable read', statementTimeoutMs: 4_000 })
@Injectable()
class MoreJobs extends Base {
  constructor(@InjectSession() session: EntityManager, dbContext: DbContext) {
    super(session, dbContext);
  }

  @NewDbContext()
  @DbTransaction({ isolationLevel: 'serializable' })
  async fresh(): Promise<string[]> {
    const [row] =
      await this.session.execute<{ statement_timeout: string }[]>('show statement_timeout');
    return [await this.level(), row!.statement_timeout];
  }

  @WithDbContext()
  @DbTransaction({ readOnly: true })
  async readOnly(text: string): Promise<void> {
    await this.write(text);
  }

  @RetryOnSerializationFailure({ attempts: 3, backoffMs: 1 })
  @WithDbContext()
  async retried(text: string): Promise<void> {
    await this.meet(text);
  }

  @RetryOnSerializationFailure({ attempts: 3, backoffMs: 1 })
  @NewDbContext()
  async retriedInNew(text: string): Promise<void> {
    await this.meet(text);
  }

  @CommitOn(({ error }) => error === KEPT)
  @WithDbContext()
  async kept(text: string, error?: Error): Promise<void> {
    await this.write(text);
    if (error !== undefined) {
      throw error;
    }
  }
}

/** Its handlers are found by the class. */
@WithDbContext()
@RetryOnSerializationFailure({ attempts: 3, backoffMs: 1 })
@DbTransaction({ isolationLevel: 'serializable' })
@Injectable()
class ByClass extends Base {
  constructor(@InjectSession() session: EntityManager, dbContext: DbContext) {
    super(session, dbContext);
  }

  async process(text: string): Promise<string> {
    await this.meet(text);
    return this.level();
  }
}

const KEPT = new Error('kept');

let world: TestWorld;
let more: MoreJobs;

beforeAll(async () => {
  world = await startWorld({}, { providers: [Jobs, MoreJobs, ByClass] });
  more = world.app.get(MoreJobs);
});
afterAll(() => world.close());
beforeEach(async () => {
  await world.database.query('truncate note restart identity');
  more.attempts = 0;
});

describe('decorators of routes on a job', () => {
  it('C7: @DbTransaction() holds for all transactions of the context, in both orders', async () => {
    const jobs = world.app.get(Jobs);
    expect(await jobs.above()).toEqual(['serializable', 'serializable']);
    expect(await jobs.below()).toBe('serializable');
  });

  it('C7: settings of the method win over those of the class', async () => {
    expect(await more.fresh()).toEqual(['serializable', '4s']);
    expect(await world.dbContext.run(() => more.fresh())).toEqual(['serializable', '4s']);
  });

  it('C7: a job that is read-only writes nothing', async () => {
    await expect(more.readOnly('never')).rejects.toMatchObject({ code: '25006' });
    expect(await world.savedTexts()).toEqual([]);
  });

  it('C7, S8: a context that is joined has the settings from the first statement, or the call is refused', async () => {
    const jobs = world.app.get(Jobs);
    expect(await world.dbContext.run(() => jobs.below())).toBe('serializable');
    const begun = world.dbContext.run(async () => {
      await world.session().execute('select 1');
      await jobs.below();
    });
    await expect(begun).rejects.toBeInstanceOf(InvalidTransactionStateError);
    await expect(begun).rejects.toMatchObject({
      message: expect.stringContaining('the transaction has begun without them'),
    });
  });

  it.each(['retried', 'retriedInNew'] as const)(
    'C7: @RetryOnSerializationFailure() runs the job again: %s',
    async (job) => {
      await more[job]('once');
      expect(more.attempts).toBe(3);
      expect(await world.savedTexts()).toEqual(['once']);
    },
  );

  it('C7, S8: a job that joins a context is not run again', async () => {
    await expect(world.dbContext.run(() => more.retried('never'))).rejects.toMatchObject({
      code: '40001',
    });
    expect(more.attempts).toBe(1);
  });

  it('S2: @CommitOn() decides on the end of the job, by what it threw', async () => {
    await expect(more.kept('kept', KEPT)).rejects.toBe(KEPT);
    await expect(more.kept('undone', new Error('other'))).rejects.toThrow('other');
    await more.kept('rolled back with a result');
    expect(await world.savedTexts()).toEqual(['kept']);
  });

  it('C7: all of it on a class, whose handlers have contexts', async () => {
    const job = world.app.get(ByClass);
    expect(await job.process('by class')).toBe('serializable');
    expect(job.attempts).toBe(3);
    expect(await world.savedTexts()).toEqual(['by class']);
  });
});

describe('@Atomic() above what opens the context', () => {
  it.each([
    ['WithDbContext', WithDbContext],
    ['NewDbContext', NewDbContext],
  ] as const)('C2: is refused as the class is loaded: %s', (name, opens) => {
    const declare = (): unknown => {
      class Job {
        @Atomic()
        @opens()
        async run(): Promise<void> {}
      }
      return Job;
    };
    expect(declare).toThrow(InvalidOptionsError);
    expect(declare).toThrow(
      `@Atomic() stands above @${name}() on Job.run, so that its transaction would begin before the ` +
        `context is open. Write @${name}() above @Atomic().`,
    );
  });
});
