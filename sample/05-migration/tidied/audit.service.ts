import { EntityManager } from '@mikro-orm/postgresql';
import { Injectable } from '@nestjs/common';
import { InjectSession } from 'nestjs-db-context';

import { AuditEntry } from '../before/rooms.entities.js';

@Injectable()
export class AuditService {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  write(text: string): void {
    this.session.persist(new AuditEntry(text));
  }

  async list(): Promise<string[]> {
    const entries = await this.session.find(AuditEntry, {}, { orderBy: { id: 'asc' } });
    return entries.map(({ text }) => text);
  }
}
