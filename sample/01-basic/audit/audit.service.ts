import { EntityManager } from '@mikro-orm/postgresql';
import { Injectable } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';

import { AuditEntry, type AuditAction } from './audit-entry.entity.js';

@Injectable()
export class AuditService {
  constructor(@InjectSession('audit') private readonly session: EntityManager) {}

  /** Not even async: the entry is written by the commit of the request, or not at all. */
  record(action: AuditAction, accountId: number, details = ''): void {
    this.session.persist(new AuditEntry(action, accountId, details));
  }

  latest(): Promise<AuditEntry[]> {
    return this.session.find(AuditEntry, {}, { orderBy: { id: 'desc' }, limit: 20 });
  }
}
