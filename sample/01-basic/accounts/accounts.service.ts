import { EntityRepository, FlushMode, LockMode } from '@mikro-orm/postgresql';
import {
  Injectable,
  NotFoundException,
  UnauthorizedException,
  UnprocessableEntityException,
} from '@nestjs/common';
import { InjectRepository } from 'nestjs-db-context';

import { AuditService } from '../audit/audit.service.js';
import { Account } from './account.entity.js';
import { isPin } from './pin.js';

@Injectable()
export class AccountsService {
  constructor(
    // A repository works on the session of the request too: the same one as everybody else's.
    @InjectRepository(Account) private readonly accounts: EntityRepository<Account>,
    private readonly audit: AuditService,
  ) {}

  list(): Promise<Account[]> {
    return this.accounts.findAll({ orderBy: { id: 'asc' } });
  }

  async get(id: number): Promise<Account> {
    return (await this.accounts.findOne(id)) ?? missing(id);
  }

  /** Locks both accounts until the end of the request's transaction, wherever that may be. */
  async lock(fromId: number, toId: number): Promise<{ from: Account; to: Account }> {
    const locked = await this.accounts.find([fromId, toId], {
      lockMode: LockMode.PESSIMISTIC_WRITE,
      // Always in the same order, or two transfers in opposite directions wait for each other.
      orderBy: { id: 'asc' },
      // The guard has read the sender before it was locked; somebody may have spent since then.
      refresh: true,
    });
    const byId = (id: number): Account =>
      locked.find((account) => account.id === id) ?? missing(id);
    return { from: byId(fromId), to: byId(toId) };
  }

  /** Refuses what would overdraw an account. It asks the database, which knows all debits. */
  async requireCovered(account: Account): Promise<void> {
    const overdrawn = await this.accounts.count(
      { id: account.id, balanceCents: { $lt: 0 } },
      // All pending changes are sent first. (By default MikroORM sends them before a query when an
      // entity of that kind was persisted or removed, but not when one was only changed.)
      { flushMode: FlushMode.ALWAYS },
    );
    if (overdrawn > 0) {
      throw new UnprocessableEntityException(`There is too little money in account ${account.id}.`);
    }
  }

  /** Checks a PIN. The trace of a wrong one is kept by `@CommitOn` on the route, see there. */
  async logIn(id: number, pin: string): Promise<Account> {
    const account = await this.accounts.findOne(id, { lockMode: LockMode.PESSIMISTIC_WRITE });
    if (account === null || !(await isPin(pin, account.pinHash))) {
      if (account !== null) {
        account.failedLogins += 1;
      }
      this.audit.record('login.failed', id);
      throw new UnauthorizedException('There is no such account, or its PIN is another.');
    }
    account.failedLogins = 0;
    this.audit.record('login.succeeded', id);
    return account;
  }
}

function missing(id: number): never {
  throw new NotFoundException(`There is no account ${id}.`);
}
