import { EntityManager } from '@mikro-orm/postgresql';
import { Injectable } from '@nestjs/common';
import { InjectSession, NewDbContext } from 'nestjs-db-context';

import { AuditEntry } from './audit-entry.entity.js';

@Injectable()
export class AuditService {
  constructor(@InjectSession('audit') private readonly session: EntityManager) {}

  /** Has been committed when it returns, whatever becomes of the request. */
  @NewDbContext()
  async record(event: string): Promise<void> {
    await this.session.insert(AuditEntry, { event });
  }
}
