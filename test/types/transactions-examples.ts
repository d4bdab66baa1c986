// The code of docs/transactions.md; tsc checks it here, and a spec checks that it is the same.
import { defineConfig, type EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, Injectable } from '@nestjs/common';
import { DbContext, DbContextModule, DbTransaction, InjectSession } from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';

const clientUrl = 'postgres://localhost/app';

export const root = DbContextModule.forRoot({
  connections: [
    {
      ...defineConfig({ clientUrl, entities: [Note] }),
      transaction: { statementTimeoutMs: 5_000, lockTimeoutMs: 1_000 },
      role: 'app_tenant',
      sessionVariables: (cls) => ({ 'app.tenant': cls.get<string>('tenant') }),
    },
  ],
});

@Controller('reports')
@DbTransaction({ isolationLevel: 'repeatable read', readOnly: true })
export class ReportController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @DbTransaction({ statementTimeoutMs: 60_000 })
  @Get('yearly')
  yearly() {
    return this.session.find(Note, {});
  }
}

export class ProfileController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @DbTransaction({ begin: 'first-write' })
  @Get('profile')
  profile() {
    return this.session.findOneOrFail(Note, { text: 'profile' });
  }
}

@Injectable()
export class TransferService {
  constructor(private readonly dbContext: DbContext) {}

  transfer() {
    return this.dbContext.atomic((session) => session.find(Note, {}), {
      isolationLevel: 'serializable',
      sessionVariables: { 'app.reason': 'transfer' },
    });
  }
}
