// The code of docs/transactions.md; tsc checks it here, and a spec checks that it is the same.
import { LockMode, raw } from '@mikro-orm/core';
import { defineConfig, type EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, Injectable, Post } from '@nestjs/common';
import {
  DbContext,
  DbContextModule,
  DbTransaction,
  InjectSession,
  RetryOnSerializationFailure,
} from 'nestjs-db-context';

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

@Controller('counters')
export class CountersController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post('locked')
  async locked() {
    // The second request waits here until the first has been committed.
    const note = await this.session.findOneOrFail(Note, 1, {
      lockMode: LockMode.PESSIMISTIC_WRITE,
    });
    note.text += '!';
  }

  @Post('computed')
  async computed() {
    // The server reads and writes in one statement.
    await this.session.nativeUpdate(Note, 1, { text: raw<string>("text || '!'") });
  }

  @RetryOnSerializationFailure({ attempts: 5 })
  @DbTransaction({ isolationLevel: 'repeatable read' })
  @Post('refused')
  async refused() {
    // The server refuses the second one (40001), which then runs again.
    const note = await this.session.findOneOrFail(Note, 1);
    note.text += '!';
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
