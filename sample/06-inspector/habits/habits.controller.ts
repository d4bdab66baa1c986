import { setTimeout as sleep } from 'node:timers/promises';

import { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, HttpCode, Post } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';

import { Account } from '../../01-basic/accounts/account.entity.js';
import { AuditEntry } from '../../01-basic/audit/audit-entry.entity.js';
import { Transfer } from '../../01-basic/transfers/transfer.entity.js';

/** How long the answer of another service takes, in milliseconds. */
const SLOW_MS = 1_200;

/** Bad habits, and a good one: each is seen in the waterfall of its request. */
@Controller('habits')
export class HabitsController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectSession('audit') private readonly audit: EntityManager,
  ) {}

  /** Asks once for each row that it has read. */
  @Get('n-plus-one')
  async nPlusOne(): Promise<number[]> {
    const transfers = await this.session.find(Transfer, {}, { limit: 8 });
    const counts: number[] = [];
    for (const { to } of transfers) {
      counts.push(await this.session.count(Transfer, { to }));
    }
    return counts;
  }

  /** Keeps its connection while it waits for somebody else. */
  @Post('hold')
  @HttpCode(200)
  async hold(): Promise<void> {
    const account = await this.session.findOneOrFail(Account, 1);
    await sleep(SLOW_MS);
    account.failedLogins = 0;
    await this.session.findOneOrFail(Account, 2);
  }

  /** Answers before its work is done. */
  @Post('forget')
  @HttpCode(200)
  async forget(): Promise<void> {
    await this.session.findOneOrFail(Account, 1);
    void this.later().catch(() => undefined);
  }

  /** Flushes from two branches at the same time. */
  @Post('flush-twice')
  @HttpCode(200)
  async flushTwice(): Promise<void> {
    const flush = async (details: string): Promise<void> => {
      this.audit.persist(new AuditEntry('login.succeeded', 1, details));
      await this.audit.flush();
    };
    await Promise.all([flush('one branch'), flush('the other')]);
  }

  /** A part that may fail has a savepoint of its own. */
  @Post('part')
  @HttpCode(200)
  async part(): Promise<void> {
    const account = await this.session.findOneOrFail(Account, 1);
    await this.session
      .transactional(async (em) => {
        await em.insert(Transfer, { from: account.id, to: 2, amountCents: 1, sentAt: new Date() });
        throw new Error('This part is undone.');
      })
      .catch(() => undefined);
    await this.session.transactional((em) =>
      em.insert(Transfer, { from: account.id, to: 3, amountCents: 1, sentAt: new Date() }),
    );
  }

  /** Breaks a rule of the database, which says so at once. */
  @Post('break')
  async break(): Promise<void> {
    await this.session.execute(
      `insert into account (owner, balance_cents, failed_logins, key, pin_hash)
       values ('Mallory', 0, 0, 'ada-key', '-')`,
    );
  }

  /** Is slow for the database as well: many of them at once have to wait for a connection. */
  @Get('slow')
  async slow(): Promise<void> {
    await this.session.execute('select pg_sleep(0.1)');
  }

  private async later(): Promise<void> {
    await sleep(50);
    await this.session.find(Account, {});
  }
}
