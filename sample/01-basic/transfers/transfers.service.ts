import { EntityManager } from '@mikro-orm/postgresql';
import { Injectable } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';

import { AccountsService } from '../accounts/accounts.service.js';
import { AuditService } from '../audit/audit.service.js';
import { Transfer } from './transfer.entity.js';

/** A plain singleton. No method takes an EntityManager, and none begins, flushes or commits. */
@Injectable()
export class TransfersService {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly accounts: AccountsService,
    private readonly audit: AuditService,
  ) {}

  async send(fromId: number, toId: number, amountCents: number): Promise<Transfer> {
    const { from, to } = await this.accounts.lock(fromId, toId);
    from.balanceCents -= amountCents;
    to.balanceCents += amountCents;

    const transfer = new Transfer(from.id, to.id, amountCents);
    this.session.persist(transfer);
    this.audit.record('transfer.sent', from.id, `${amountCents} cents to account ${to.id}`);

    // The check comes last, to show what a rollback does. When it throws, the debit, the credit and
    // the transfer are already in the database, uncommitted, and the audit entry waits in the other
    // session. Nobody has to clean up here: the 422 rolls both sessions back.
    await this.accounts.requireCovered(from);
    return transfer;
  }

  ofAccount(id: number): Promise<Transfer[]> {
    return this.session.find(
      Transfer,
      { $or: [{ from: id }, { to: id }] },
      { orderBy: { id: 'desc' }, limit: 20 },
    );
  }
}
