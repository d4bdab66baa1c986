import {
  Controller,
  Get,
  Injectable,
  Post,
  UseGuards,
  UseInterceptors,
  type CanActivate,
  type ExecutionContext,
} from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import {
  DbContext,
  DbContextInterceptor,
  DbContextNotActiveError,
  InjectSession,
  SkipDbContext,
} from 'nestjs-db-context';

import { ContextRegistry } from '../../lib/context/context-registry.js';
import { deferred, type Deferred } from '../support/deferred.js';
import { Note } from '../support/note.entity.js';
import { RawClient } from '../support/raw-client.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { waitFor } from '../support/wait-for.js';

const seen: unknown[] = [];
let guardReached: Deferred<void>;
let guardMayGoOn: Deferred<void>;

/** Writes a note, then says no. */
@Injectable()
class RefusingGuard implements CanActivate {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  async canActivate(): Promise<boolean> {
    if (!this.dbContext.isActive()) {
      seen.push('no context');
      return false;
    }
    await this.session.persist(new Note('refused')).flush();
    return false;
  }
}

/** Writes a note and lets the request through. */
@Injectable()
class WritingGuard implements CanActivate {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    await this.session.persist(new Note(`guard of ${context.getHandler().name}`)).flush();
    return true;
  }
}

/** Writes a note, and goes on when the spec says so. */
@Injectable()
class SlowGuard implements CanActivate {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async canActivate(): Promise<boolean> {
    await this.session.persist(new Note('slow guard')).flush();
    guardReached.resolve();
    await guardMayGoOn.promise;
    return true;
  }
}

@Controller()
class MountController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Get('plain')
  async plain(): Promise<void> {
    await this.session.persist(new Note('plain')).flush();
  }

  @Post('body')
  async body(): Promise<void> {
    await this.session.persist(new Note('body')).flush();
  }

  @UseGuards(RefusingGuard)
  @Get('refused')
  refused(): void {
    seen.push('handler');
  }

  @UseGuards(WritingGuard)
  @Post('guarded')
  async guarded(): Promise<void> {
    await this.session.persist(new Note('guarded')).flush();
  }

  @UseGuards(SlowGuard)
  @Get('slow-guard')
  async slowGuard(): Promise<void> {
    try {
      await this.session.persist(new Note('handler after the slow guard')).flush();
    } catch (error) {
      seen.push(error);
      throw error;
    } finally {
      seen.push('handler');
    }
  }

  @SkipDbContext()
  @Get('skipped')
  skipped(): Promise<Note[]> {
    return noteErrors(() => this.session.find(Note, {}));
  }

  @UseGuards(WritingGuard)
  @SkipDbContext()
  @Get('skipped-after-guard')
  skippedAfterGuard(): Promise<Note[]> {
    return noteErrors(() => this.session.find(Note, {}));
  }
}

@SkipDbContext()
@Controller('skipped-controller')
class SkippedController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Get()
  all(): Promise<Note[]> {
    return noteErrors(() => this.session.find(Note, {}));
  }
}

@UseInterceptors(DbContextInterceptor)
@Controller('own')
class OwnController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Get()
  async write(): Promise<void> {
    await this.session.persist(new Note('own')).flush();
  }
}

async function noteErrors<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    seen.push(error);
    throw error;
  }
}

const CONTROLLERS = [MountController, SkippedController, OwnController];

describe.each<AdapterName>(['express', 'fastify'])('mounts over %s', (adapter) => {
  let world: TestWorld;

  beforeEach(() => {
    seen.length = 0;
    guardReached = deferred();
    guardMayGoOn = deferred();
  });

  afterEach(() => world?.close());

  const start = async (options: Parameters<typeof startWorld>[1]): Promise<void> => {
    world = await startWorld({}, { adapter, controllers: CONTROLLERS, ...options });
  };
  const contextsAreGone = async (): Promise<void> => {
    const registry = world.app.get(ContextRegistry);
    await waitFor(() => registry.runningCount === 0, { what: 'the context to end' });
    await world.serverIsIdle();
    expect(world.pool().checkedOut).toBe(0);
  };

  describe.each(['interceptor', 'middleware'] as const)('mount: %s', (mount) => {
    beforeEach(() => start({ mount }));

    it.each(['/skipped', '/skipped-controller'])(
      'S5: @SkipDbContext() on %s leaves no context',
      async (path) => {
        expect((await world.fetch(path)).status).toBe(500);
        expect(seen).toEqual([expect.any(DbContextNotActiveError)]);
        await contextsAreGone();
        expect(world.proxy.log).toEqual([]);
      },
    );

    it('S1: a route commits once', async () => {
      expect((await world.fetch('/plain')).status).toBe(200);
      expect(await world.savedTexts()).toEqual(['plain']);
      expect(world.proxy.log.filter((sql) => sql === 'commit')).toHaveLength(1);
      await contextsAreGone();
    });

    it('S8: a second DbContextInterceptor on the route joins', async () => {
      expect((await world.fetch('/own')).status).toBe(200);
      expect(world.proxy.log.map((sql) => sql.split(' ')[0])).toEqual([
        'begin',
        'insert',
        'commit',
      ]);
      await contextsAreGone();
    });

    it('S1: the body of a request does not lose the context', async () => {
      const response = await world.fetch('/body', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ text: 'x'.repeat(50_000) }),
      });
      expect(response.status).toBe(201);
      expect(await world.savedTexts()).toEqual(['body']);
      await contextsAreGone();
    });

    it('S4: an unmatched route leaves no context behind', async () => {
      expect((await world.fetch('/no-such-route')).status).toBe(404);
      await contextsAreGone();
      expect(world.proxy.log).toEqual([]);
    });
  });

  it('S2: a guard that refuses has no context in interceptor mode', async () => {
    await start({});
    expect((await world.fetch('/refused')).status).toBe(403);
    expect(seen).toEqual(['no context']);
    await contextsAreGone();
  });

  it('S2: a guard that refuses is rolled back with mount: middleware', async () => {
    await start({ mount: 'middleware' });
    expect((await world.fetch('/refused')).status).toBe(403);
    await contextsAreGone();
    expect(seen).toEqual([]);
    expect(world.proxy.log.map((sql) => sql.split(' ')[0])).toEqual([
      'begin',
      'insert',
      'rollback',
    ]);
    expect(await world.savedTexts()).toEqual([]);
  });

  it('S1: guard and handler share one transaction with mount: middleware', async () => {
    await start({ mount: 'middleware' });
    const response = await world.fetch('/guarded', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ text: 'x' }),
    });
    expect(response.status).toBe(201);
    const rows = await world.database.query('select distinct xid from note');
    expect(rows).toHaveLength(1);
    expect(await world.savedTexts()).toEqual(['guard of guarded', 'guarded']);
    await contextsAreGone();
  });

  it('S5: @SkipDbContext() rolls back what a guard began with mount: middleware', async () => {
    await start({ mount: 'middleware' });
    expect((await world.fetch('/skipped-after-guard')).status).toBe(500);
    expect(seen).toEqual([expect.any(DbContextNotActiveError)]);
    await contextsAreGone();
    expect(await world.savedTexts()).toEqual([]);
  });

  it.each(['finish', 'rollback'] as const)(
    'S4: a client that leaves during a guard gets all or nothing (%s)',
    async (onDisconnect) => {
      await start({ mount: 'middleware', onDisconnect });
      const client = await RawClient.get(`${world.url}/slow-guard`);
      await guardReached.promise;
      await client.leave();
      await contextsAreGone();
      guardMayGoOn.resolve();
      const isStarted = onDisconnect === 'finish';
      await waitFor(() => !isStarted || seen.includes('handler'), { what: 'the handler' });
      // By the time that another request has been served, the handler would have been.
      expect((await world.fetch('/plain')).status).toBe(200);
      await contextsAreGone();
      expect(await world.savedTexts()).toEqual(['plain']);
      const refused: unknown = expect.objectContaining({ code: 'SESSION_CLOSED' });
      expect(seen).toEqual(isStarted ? [refused, 'handler'] : []);
    },
  );

  it('S1: the middleware also covers routes outside of the global prefix', async () => {
    await start({
      mount: 'middleware',
      configure: (app) => app.setGlobalPrefix('api', { exclude: ['guarded'] }),
    });
    expect((await world.fetch('/guarded', { method: 'POST' })).status).toBe(201);
    expect((await world.fetch('/api/plain')).status).toBe(200);
    expect(await world.savedTexts()).toEqual(['guard of guarded', 'guarded', 'plain']);
    await contextsAreGone();
  });

  it('S1: with mount: none only @UseInterceptors(DbContextInterceptor) opens a context', async () => {
    await start({ mount: 'none' });
    expect((await world.fetch('/plain')).status).toBe(500);
    expect((await world.fetch('/own')).status).toBe(200);
    expect(await world.savedTexts()).toEqual(['own']);
    await contextsAreGone();
  });
});
