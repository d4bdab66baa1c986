import type { EntityManager } from '@mikro-orm/postgresql';
import {
  Get,
  Controller,
  Injectable,
  Param,
  ParseIntPipe,
  Scope,
  SetMetadata,
} from '@nestjs/common';
import {
  Atomic,
  DbContext,
  DecoratorNotManagedError,
  InjectSession,
  NewDbContext,
  WithDbContext,
} from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';

class Work {
  constructor(
    readonly session: EntityManager,
    readonly dbContext: DbContext,
  ) {}

  @WithDbContext()
  async inContext(text: string): Promise<boolean> {
    await this.session.insert(Note, { text });
    return this.dbContext.isActive();
  }

  @NewDbContext()
  async inNewContext(text: string): Promise<void> {
    await this.session.insert(Note, { text });
  }

  @Atomic({ current: 'savepoint' })
  async inSavepoint(text: string): Promise<void> {
    await this.session.insert(Note, { text });
    throw new Error('undo the savepoint');
  }
}

@Injectable()
class Singleton extends Work {
  constructor(@InjectSession() session: EntityManager, dbContext: DbContext) {
    super(session, dbContext);
  }

  /** A job and a handler at once. */
  @SetMetadata('below', 1)
  @WithDbContext()
  @SetMetadata('above', 2)
  async decorated(first: string, second: number): Promise<string> {
    return `${first} ${second}`;
  }
}

@Injectable({ scope: Scope.REQUEST })
class RequestScoped extends Work {
  constructor(@InjectSession() session: EntityManager, dbContext: DbContext) {
    super(session, dbContext);
  }
}

@Controller()
class WorkController {
  constructor(
    private readonly singleton: Singleton,
    private readonly requestScoped: RequestScoped,
  ) {}

  @Get('work/:number')
  @Atomic({ current: 'append' })
  async work(@Param('number', ParseIntPipe) number: number): Promise<string> {
    for (const [name, work] of Object.entries({
      singleton: this.singleton,
      requestScoped: this.requestScoped,
    })) {
      await work.inContext(`${name} in context`);
      await work.inNewContext(`${name} in new context`);
      await work.inSavepoint(`${name} in savepoint`).catch(() => undefined);
    }
    return typeof number;
  }
}

let world: TestWorld;

beforeAll(async () => {
  world = await startWorld(
    {},
    { controllers: [WorkController], providers: [Singleton, RequestScoped] },
  );
});

afterAll(() => world.close());

beforeEach(async () => {
  await world.database.query('truncate note restart identity');
});

describe('decorators of methods', () => {
  it('S8, C2, C3: on singletons, request-scoped providers and controllers', async () => {
    const response = await world.fetch('/work/7');
    expect([response.status, await response.text()]).toEqual([200, 'number']);
    expect((await world.savedTexts()).toSorted()).toEqual([
      'requestScoped in context',
      'requestScoped in new context',
      'singleton in context',
      'singleton in new context',
    ]);
    const rows = await world.database.query<{ xid: string }>('select distinct xid::text from note');
    expect(rows).toHaveLength(3);
  });

  it('S8: @WithDbContext() opens a context where there is none, and settles it', async () => {
    const singleton = world.app.get(Singleton);
    expect(await singleton.inContext('a job')).toBe(true);
    expect(world.dbContext.isActive()).toBe(false);
    expect(await world.savedTexts()).toEqual(['a job']);
    await expect(singleton.inContext('a job')).rejects.toMatchObject({ code: '23505' });
  });

  it('keep the name, the length and the metadata of the method', () => {
    const decorated: object = Reflect.get(Singleton.prototype, 'decorated') as object;
    expect([Reflect.get(decorated, 'name'), Reflect.get(decorated, 'length')]).toEqual([
      'decorated',
      2,
    ]);
    expect(Reflect.getMetadata('below', decorated)).toBe(1);
    expect(Reflect.getMetadata('above', decorated)).toBe(2);
    expect(Reflect.getMetadata('design:paramtypes', Singleton.prototype, 'decorated')).toEqual([
      String,
      Number,
    ]);
  });

  it('say what is wrong on an object that Nest did not make', async () => {
    const stray = new Singleton(world.session(), world.dbContext);
    await expect(stray.inContext('never')).rejects.toMatchObject({
      constructor: DecoratorNotManagedError,
      message: expect.stringContaining('@WithDbContext() on Work.inContext'),
    });
  });
});
