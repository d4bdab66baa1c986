import { MikroORM } from '@mikro-orm/postgresql';
import { Injectable } from '@nestjs/common';

import { AuditEntry } from './rooms.entities.js';

@Injectable()
export class AuditService {
  constructor(private readonly orm: MikroORM) {}

  async write(text: string): Promise<void> {
    this.orm.em.persist(new AuditEntry(text));
    await this.orm.em.flush();
  }

  async list(): Promise<string[]> {
    const entries = await this.orm.em.find(AuditEntry, {}, { orderBy: { id: 'asc' } });
    return entries.map(({ text }) => text);
  }
}
