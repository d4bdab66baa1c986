import type { EntityManager } from '@mikro-orm/postgresql';
import { BadRequestException, Controller, Get, Param } from '@nestjs/common';
import {
  DbContext,
  DbTransaction,
  InjectSession,
  RetryOnSerializationFailure,
} from 'nestjs-db-context';
import { defer, type Observable } from 'rxjs';

import { Entry, PARTS, Tally } from './entry.entities.js';

/**
 * The kinds of requests. Each unit of work writes its rows under a key of its own: `key` for that of
 * the request, `key+` for one that is committed by itself, `key-` for what must never be saved.
 */
@Controller()
export class SoakController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectSession('audit') private readonly audit: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Get('read/:key')
  async read(): Promise<number> {
    const some = await this.session.find(Entry, {}, { limit: 50, orderBy: { key: 'desc' } });
    return some.length;
  }

  @Get('write/:key')
  async write(@Param('key') key: string): Promise<void> {
    for (let part = 1; part <= PARTS; part++) {
      this.session.persist(this.session.create(Entry, { key, part }));
      await this.session.flush();
    }
  }

  /** The flush is left to the commit, in both databases. */
  @Get('both/:key')
  both(@Param('key') key: string): void {
    for (let part = 1; part <= PARTS; part++) {
      this.session.persist(this.session.create(Entry, { key, part }));
      this.audit.persist(this.audit.create(Entry, { key, part }));
    }
  }

  @Get('atomic/:key')
  async atomic(@Param('key') key: string): Promise<void> {
    await this.dbContext.atomic(() => this.write(`${key}+`));
    await this.write(key);
  }

  @Get('context/:key')
  async context(@Param('key') key: string): Promise<void> {
    await this.write(key);
    await this.dbContext.runInNewContext(() => this.write(`${key}+`));
  }

  @Get('stream/:key')
  async stream(@Param('key') key: string): Promise<number> {
    let count = 0;
    for await (const entry of this.session.stream(Entry, { where: { part: 1 } })) {
      count += entry.part;
      // Most of them leave the cursor open, as a `break` in an application does.
      if (count > 100) {
        break;
      }
    }
    await this.write(key);
    return count;
  }

  @RetryOnSerializationFailure({ attempts: 4, backoffMs: 5 })
  @DbTransaction({ isolationLevel: 'serializable' })
  @Get('retry/:key')
  async retry(@Param('key') key: string): Promise<void> {
    const tally = await this.session.findOneOrFail(Tally, 1);
    tally.value++;
    await this.write(key);
  }

  @Get('observable/:key')
  observable(@Param('key') key: string): Observable<void> {
    return defer(async () => {
      await this.write(key);
      await this.session.execute('select pg_sleep(0.01)');
    });
  }

  @DbTransaction({ statementTimeoutMs: 50 })
  @Get('timeout/:key')
  async timeout(@Param('key') key: string): Promise<void> {
    await this.write(key);
    await this.session.execute('select pg_sleep(0.1)');
  }

  @Get('savepoints/:key')
  async savepoints(@Param('key') key: string): Promise<void> {
    await Promise.allSettled([
      this.session.transactional(() => this.write(key)),
      this.session.transactional(async () => {
        await this.write(`${key}-`);
        throw new BadRequestException();
      }),
    ]);
  }

  @Get('fail/:key')
  async fail(@Param('key') key: string): Promise<void> {
    await this.write(`${key}-`);
    throw new BadRequestException();
  }

  @Get('branch/:key')
  async branch(@Param('key') key: string): Promise<void> {
    const late = this.session.execute('select pg_sleep(0.005)').then(() => this.write(`${key}-`));
    late.catch(() => undefined);
    await Promise.all([late, Promise.reject(new BadRequestException())]);
  }

  @Get('hang/:key')
  async hang(@Param('key') key: string): Promise<void> {
    await this.write(`${key}-`);
    await new Promise(() => undefined);
  }
}

/** Their names, with how often each is asked for. */
export const KINDS: Readonly<Record<string, number>> = {
  read: 20,
  write: 20,
  both: 10,
  atomic: 8,
  context: 8,
  stream: 6,
  retry: 8,
  observable: 8,
  savepoints: 6,
  timeout: 2,
  fail: 4,
  branch: 4,
  hang: 0.3,
};

/** Kinds that also commit `key+` by itself. */
export const WITH_OWN_UNIT: readonly string[] = ['atomic', 'context'];
/** Kinds whose success promises nothing under their key. */
export const WITHOUT_ROWS: readonly string[] = ['read', 'fail', 'branch', 'hang'];
