// The code of docs/http.md; tsc checks it here, and a spec checks that it is the same.
import { defineConfig, EntityManager } from '@mikro-orm/postgresql';
import {
  Controller,
  Get,
  Injectable,
  Post,
  Res,
  UseInterceptors,
  type CanActivate,
} from '@nestjs/common';
import {
  CommitOn,
  commitOnSuccess,
  DbContext,
  DbContextInterceptor,
  DbContextModule,
  InjectSession,
  SkipDbContext,
} from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';

const clientUrl = 'postgres://localhost/app';

export const root = DbContextModule.forRoot({
  connections: [defineConfig({ clientUrl, entities: [Note] })],
  mount: 'middleware',
  commitOn: (outcome) => commitOnSuccess(outcome) || outcome.status === 404,
  onDisconnect: 'rollback',
  shutdownTimeoutMs: 30_000,
});

@Controller('login')
export class LoginController {
  // a failed log-in must leave its trace
  @CommitOn(({ failed, status }) => !failed || status === 401)
  @Post()
  login() {}
}

@SkipDbContext()
@Controller('health')
export class HealthController {
  @Get()
  health() {
    return 'ok';
  }
}

@UseInterceptors(DbContextInterceptor)
@Controller('notes')
export class NotesController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Get()
  all() {
    return this.session.find(Note, {});
  }
}

@Injectable()
export class MemberGuard implements CanActivate {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async canActivate(): Promise<boolean> {
    return (await this.session.count(Note)) > 0;
  }
}

@Controller('export')
export class ExportController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Get()
  async export(@Res() response: { send(body: unknown): unknown }) {
    const notes = await this.session.find(Note, {});
    await this.dbContext.commit();
    response.send(notes);
  }
}
