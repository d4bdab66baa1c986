import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Injectable, SetMetadata } from '@nestjs/common';
import {
  Atomic,
  DbContext,
  InjectSession,
  InvalidOptionsError,
  NewDbContext,
  WithDbContext,
} from 'nestjs-db-context';

import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';

/** Does what `@Cron()` does: it marks the method for its library. */
const Marked = SetMetadata('a library', { every: 'second' });

abstract class NoteWork {
  constructor(
    readonly session: EntityManager,
    readonly dbContext: DbContext,
  ) {}

  /** Inherited, and called as the interface of BullMQ's workers demands. */
  async process(text: string): Promise<boolean> {
    await this.session.insert(Note, { text });
    return this.dbContext.isActive();
  }
}

@WithDbContext()
@Injectable()
class NoteJob extends NoteWork {
  constructor(@InjectSession() session: EntityManager, dbContext: DbContext) {
    super(session, dbContext);
  }

  @Marked
  async tick(text: string, second: string): Promise<void> {
    await this.process(text);
    await this.process(second);
    this.dbContext.onCommit(() => {
      throw new Error('no mail');
    });
  }

  /** It has a context already, so the class gives it none. */
  @Marked
  @NewDbContext()
  async ownContext(): Promise<boolean> {
    return this.dbContext.isActive();
  }

  helper(): boolean {
    return this.dbContext.isActive();
  }

  @Atomic()
  async needsContext(): Promise<void> {}

  get process2(): () => boolean {
    return () => this.dbContext.isActive();
  }
}

@Controller()
class PlainWork extends NoteWork {
  constructor(@InjectSession() session: EntityManager, dbContext: DbContext) {
    super(session, dbContext);
  }
}

let world: TestWorld;
let job: NoteJob;
const log = new LogRecorder();

beforeAll(async () => {
  world = await startWorld({}, { providers: [NoteJob, PlainWork] });
  job = world.app.get(NoteJob);
  world.app.useLogger(log);
});
afterAll(() => world.close());
beforeEach(async () => {
  await world.database.query('truncate note restart identity');
  log.lines.length = 0;
});

describe('@WithDbContext() on a class', () => {
  it('W1, S8: gives each handler a context of its own, and all of its work one transaction', async () => {
    expect(await job.process('inherited')).toBe(true);
    await job.tick('first', 'second');
    expect(await world.savedTexts()).toEqual(['inherited', 'first', 'second']);
    const transactions = await world.database.query('select distinct xid from note');
    expect(transactions).toHaveLength(2);
    await expect(job.tick('again', 'first')).rejects.toMatchObject({ code: '23505' });
    expect(await world.savedTexts()).toEqual(['inherited', 'first', 'second']);
  });

  it('S8: leaves all else as it is: helpers, accessors, other decorators, the base class', async () => {
    expect([job.helper(), job.process2()]).toEqual([false, false]);
    expect(await job.ownContext()).toBe(true);
    await expect(job.needsContext()).rejects.toMatchObject({ code: 'DB_CONTEXT_NOT_ACTIVE' });
    await expect(world.app.get(PlainWork).process('no context')).rejects.toMatchObject({
      code: 'DB_CONTEXT_NOT_ACTIVE',
    });
  });

  it('keeps the name, the length and the metadata of the method', () => {
    const tick = Reflect.get(NoteJob.prototype, 'tick') as () => unknown;
    expect([tick.name, tick.length]).toEqual(['tick', 2]);
    expect(Reflect.getMetadata('a library', tick)).toEqual({ every: 'second' });
  });

  it('W1: names the context Class.method, also where the method is inherited, and in hooks', async () => {
    await job.tick('named', 'names');
    expect(log.ofLibrary('error')).toEqual(['an onCommit hook of NoteJob.tick failed: no mail']);
  });

  it('is refused where it would have no effect', () => {
    const declare = (): unknown => {
      @WithDbContext()
      class NoHandler {
        async prepare(): Promise<void> {}
      }
      return NoHandler;
    };
    expect(declare).toThrow(InvalidOptionsError);
    expect(declare).toThrow('@WithDbContext() on the class NoHandler finds no handler.');
  });
});

describe('a context with a name', () => {
  it('W1: dbContext.run() and runInNewContext() take the name that messages use', async () => {
    const fail = (): void => {
      world.dbContext.onCommit(() => {
        throw new Error('no mail');
      });
    };
    await world.dbContext.run(fail, { name: 'nightly report' });
    await world.dbContext.runInNewContext(fail, { name: 'a part of it' });
    await world.dbContext.run(fail);
    expect(log.ofLibrary('error')).toEqual([
      'an onCommit hook of nightly report failed: no mail',
      'an onCommit hook of a part of it failed: no mail',
      'an onCommit hook of dbContext.run() failed: no mail',
    ]);
  });
});
