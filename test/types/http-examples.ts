// The code of docs/http.md; tsc checks it here, and a spec checks that it is the same.
import type { IncomingMessage, ServerResponse } from 'node:http';

import { defineConfig, EntityManager } from '@mikro-orm/postgresql';
import { CacheInterceptor } from '@nestjs/cache-manager';
import {
  ClassSerializerInterceptor,
  Controller,
  Get,
  Injectable,
  Post,
  Res,
  UseInterceptors,
  type CanActivate,
  type Provider,
} from '@nestjs/common';
import {
  AFTER_COMMIT_INTERCEPTOR,
  CommitOn,
  commitOnSuccess,
  DbContext,
  DbContextInterceptor,
  DbContextModule,
  DbTransaction,
  FlushOn,
  InjectSession,
  RetryOnSerializationFailure,
  SkipDbContext,
  UseAfterCommit,
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

export const strictRoot = DbContextModule.forRoot({
  connections: [defineConfig({ clientUrl, entities: [Note] })],
  serializeFirst: true,
});

@Controller('login')
export class LoginController {
  // a failed log-in must leave its trace
  @CommitOn(({ failed, status }) => !failed || status === 401)
  @Post()
  login() {}
}

@UseInterceptors(ClassSerializerInterceptor)
@Controller('drafts')
export class DraftsController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Post()
  create() {
    const note = new Note('draft');
    this.session.persist(note);
    return note; // the serializer gets it with its id
  }

  @Post('by-id')
  async createById() {
    const note = new Note('draft');
    await this.session.persist(note).flush();
    return { id: note.id }; // read inside of the handler, so the flush has to be there, too
  }

  @FlushOn('commit')
  @Post('later')
  createLater() {
    this.session.persist(new Note('draft'));
  }
}

@Controller('prices')
export class PricesController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @UseAfterCommit(CacheInterceptor)
  @Get()
  all() {
    return this.session.find(Note, {});
  }
}

export const cacheOfAllRoutes: Provider = {
  provide: AFTER_COMMIT_INTERCEPTOR,
  useClass: CacheInterceptor,
};

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

@Controller('accounts')
export class AccountsController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @RetryOnSerializationFailure({ attempts: 5, backoffMs: 20 })
  @DbTransaction({ isolationLevel: 'serializable' })
  @Post('transfer')
  async transfer() {
    const note = await this.session.findOneOrFail(Note, 1);
    note.text = 'transferred';
  }
}

export function inOneContext(dbContext: DbContext) {
  return (_request: IncomingMessage, response: ServerResponse, next: () => void) =>
    // run(async () => next()) would end the context while the handler works.
    dbContext.run(
      () =>
        new Promise<void>((resolve) => {
          response.once('close', resolve);
          next();
        }),
    );
}
