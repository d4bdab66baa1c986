import {
  Catch,
  Controller,
  ForbiddenException,
  Get,
  Inject,
  Injectable,
  Scope,
  UnauthorizedException,
  UseFilters,
  UseGuards,
  type ArgumentsHost,
  type CanActivate,
  type ExceptionFilter,
  type Provider,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { AuthGuard, PassportStrategy } from '@nestjs/passport';
import type { EntityManager } from '@mikro-orm/postgresql';
import {
  DbContext,
  DbContextNotActiveError,
  getSessionToken,
  InjectSession,
} from 'nestjs-db-context';
import { Strategy } from 'passport-custom';

import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';

/** Finds the user of a request, and keeps that it was looked for. */
@Injectable()
class NoteStrategy extends PassportStrategy(Strategy, 'note') {
  constructor(@InjectSession() private readonly session: EntityManager) {
    super();
  }

  async validate(request: { readonly query: { readonly fail?: string } }): Promise<object> {
    await this.session.persist(new Note('validated')).flush();
    if (request.query.fail !== undefined) {
      throw new UnauthorizedException();
    }
    return { notes: await this.session.count(Note) };
  }
}

@Injectable()
class CountingGuard implements CanActivate {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async canActivate(): Promise<boolean> {
    await this.session.persist(new Note('guarded')).flush();
    return true;
  }
}

/** A request-scoped provider that is made of a query. */
const XID: Provider = {
  provide: 'XID',
  scope: Scope.REQUEST,
  inject: [getSessionToken()],
  useFactory: (session: EntityManager) => xidOf(session),
};

async function xidOf(session: EntityManager): Promise<string> {
  const [row] = await session.execute<{ xid: string }[]>(
    'select pg_current_xact_id()::text as xid',
  );
  return row!.xid;
}

@Controller('scoped')
class ScopedController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    @Inject('XID') private readonly xid: string,
  ) {}

  @Get()
  async xids(): Promise<string[]> {
    return [this.xid, await xidOf(this.session)];
  }
}

@Injectable()
class RefusingGuard implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

/** Keeps a row of its own, and one in whatever context it runs. */
@Catch(ForbiddenException)
class AuditFilter implements ExceptionFilter {
  constructor(
    private readonly adapterHost: HttpAdapterHost,
    private readonly dbContext: DbContext,
    @InjectSession() private readonly session: EntityManager,
  ) {}

  async catch(_error: ForbiddenException, host: ArgumentsHost): Promise<void> {
    const keep = (text: string) => () => this.session.persist(new Note(text)).flush();
    await this.dbContext.run(keep('joined'));
    await this.dbContext.runInNewContext(keep('new'));
    this.adapterHost.httpAdapter.reply(host.switchToHttp().getResponse(), { refused: true }, 403);
  }
}

@Controller()
class GuardedController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @UseGuards(AuthGuard('note'))
  @Get('passport')
  async passport(): Promise<void> {
    await this.session.persist(new Note('handled')).flush();
  }

  @UseGuards(RefusingGuard)
  @UseFilters(AuditFilter)
  @Get('refused')
  refused(): void {
    // The guard lets nobody in.
  }

  @UseGuards(CountingGuard)
  @Get('guard')
  async guard(): Promise<void> {
    await this.session.persist(new Note('handled')).flush();
  }
}

const REMEDY = "has one with mount: 'middleware'";

describe.each<AdapterName>(['express', 'fastify'])(
  'what runs before a handler, over %s',
  (adapter) => {
    describe.each(['middleware', 'interceptor'] as const)('mount: %s', (mount) => {
      const logger = new LogRecorder();
      let world: TestWorld;

      beforeAll(async () => {
        world = await startWorld(
          {},
          {
            adapter,
            mount,
            controllers: [ScopedController, GuardedController],
            providers: [NoteStrategy, XID],
            configure: (app) => app.useLogger(logger),
          },
        );
      });
      afterAll(() => world?.close());
      beforeEach(async () => {
        logger.lines.length = 0;
        world.proxy.reset();
        await world.database.query('truncate note');
      });

      it('S2, S8: a filter keeps of a refusal what it writes in a context of its own', async () => {
        const response = await world.fetch('/refused');
        expect([response.status, await response.json()]).toEqual([403, { refused: true }]);
        await world.serverIsIdle();
        expect(await world.savedTexts()).toEqual(
          mount === 'middleware' ? ['new'] : ['joined', 'new'],
        );
      });

      if (mount === 'interceptor') {
        it.each(['/passport', '/guard', '/scoped'])(
          'S5: %s has no session, and the error names the remedy',
          async (path) => {
            expect((await world.fetch(path)).status).toBe(500);
            expect(logger.lines.filter(({ level }) => level === 'error')).toEqual([
              expect.objectContaining({
                message: expect.stringContaining(DbContextNotActiveError.name) as unknown,
              }),
            ]);
            expect(logger.lines[0]!.message).toContain(REMEDY);
          },
        );
        return;
      }

      it.each([
        ['/passport', 'validated'],
        ['/guard', 'guarded'],
      ])('W2: %s works in the transaction of its handler', async (path, text) => {
        expect((await world.fetch(path)).status).toBe(200);
        expect(await world.savedTexts()).toEqual([text, 'handled']);
        expect(await world.database.query('select distinct xid from note')).toHaveLength(1);
      });

      it('W2: a request-scoped provider that is made of a query is in the transaction of the handler', async () => {
        const [provided, handled] = (await (await world.fetch('/scoped')).json()) as string[];
        expect(provided).toMatch(/^\d+$/);
        expect(provided).toBe(handled);
      });

      it('S2: what validate() wrote is rolled back with its refusal, before the first byte', async () => {
        expect((await world.fetch('/passport?fail')).status).toBe(401);
        expect(world.proxy.log.at(-1)).toBe('rollback');
        expect(await world.savedTexts()).toEqual([]);
        expect(logger.ofLibrary('error')).toEqual([]);
      });
    });
  },
);
