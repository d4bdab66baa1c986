import { Readable } from 'node:stream';

import {
  Controller,
  Get,
  StreamableFile,
  UseInterceptors,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import {
  DbContext,
  DbContextInterceptor,
  InjectSession,
  RetryOnSerializationFailure,
} from 'nestjs-db-context';
import { map, of, type Observable } from 'rxjs';

import { deferred, type Deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

let file: Readable;
let mayReturn: Deferred<void>;
/** How often Nest has run our interceptor itself. */
let runsOfChain: number;

class Wrapping implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((value) => ({ wrapped: value })));
  }
}

@Controller()
class PlainController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Get('plain')
  async plain(): Promise<object> {
    await this.session.persist(new Note('plain')).flush();
    return { saved: true };
  }

  @UseInterceptors(Wrapping)
  @Get('wrapped')
  async wrapped(): Promise<boolean> {
    await this.session.persist(new Note('wrapped')).flush();
    return this.dbContext.isActive();
  }

  @Get('values')
  values(): Observable<string> {
    this.session.persist(new Note('values'));
    return of('first', 'last');
  }

  @RetryOnSerializationFailure({ attempts: 2 })
  @Get('retried')
  async retried(): Promise<object> {
    await this.session.persist(new Note('retried')).flush();
    return {};
  }

  @Get('unsaved-file')
  unsavedFile(): StreamableFile {
    this.session.persist([new Note('twice'), new Note('twice')]);
    return new StreamableFile(file);
  }

  @Get('late-file')
  async lateFile(): Promise<StreamableFile> {
    await this.session.persist(new Note('late')).flush();
    await mayReturn.promise;
    return new StreamableFile(file);
  }
}

describe.each<AdapterName>(['express', 'fastify'])(
  "requests that do without Nest's chain of interceptors, over %s",
  (adapter) => {
    describe.each(['interceptor', 'middleware'] as const)('mount: %s', (mount) => {
      const shared = useWorld(() =>
        startWorld({}, { adapter, mount, controllers: [PlainController], contextTimeoutMs: 1_000 }),
      );

      beforeEach(() => {
        file = Readable.from(['content']);
        mayReturn = deferred();
        runsOfChain = 0;
        const interceptor = shared.world.app.get(DbContextInterceptor);
        interceptor.intercept = (context, next) => {
          runsOfChain += 1;
          return DbContextInterceptor.prototype.intercept.call(interceptor, context, next);
        };
      });

      it.each([
        ['plain', { saved: true }],
        ['wrapped', { wrapped: true }],
      ])('S1: /%s is committed before it is answered', async (path, body) => {
        const answer = await shared.world.fetch(`/${path}`);
        expect([answer.status, await answer.json()]).toEqual([200, body]);
        expect(await shared.world.savedTexts()).toEqual([path]);
        expect(runsOfChain).toBe(0);
      });

      it('S1: of an Observable the last value is answered, after the commit', async () => {
        const answer = await shared.world.fetch('/values');
        expect([answer.status, await answer.text()]).toEqual([200, 'last']);
        expect(await shared.world.savedTexts()).toEqual(['values']);
        expect(runsOfChain).toBe(0);
      });

      it('S1: a route that is retried is served by the chain', async () => {
        expect((await shared.world.fetch('/retried')).status).toBe(200);
        expect(await shared.world.savedTexts()).toEqual(['retried']);
        expect(runsOfChain).toBe(1);
      });

      it('S1: a file whose COMMIT fails is closed', async () => {
        expect((await shared.world.fetch('/unsaved-file')).status).toBe(500);
        expect(file.destroyed).toBe(true);
        expect(await shared.world.savedTexts()).toEqual([]);
      });

      it('S4: a file that is returned after the context was cut off is closed', async () => {
        const closed = deferred();
        file.once('close', () => closed.resolve());
        expect((await shared.world.fetch('/late-file')).status).toBe(503);
        mayReturn.resolve();
        await closed.promise;
        expect(await shared.world.savedTexts()).toEqual([]);
      });
    });
  },
);
