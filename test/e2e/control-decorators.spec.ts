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

const AUDIT = Symbol('audit');

/** Does what decorators of other libraries do: it keeps what it knows on the method itself. */
const Audited =
  (name: string): MethodDecorator =>
  (_target, _key, descriptor) => {
    const method = descriptor.value as object;
    Object.defineProperties(method, {
      audit: { value: name, enumerable: true, writable: true, configurable: true },
      // A getter that Object.keys() does not list, and a value under a symbol.
      computedAudit: { get: () => `computed ${name}`, configurable: true },
      [AUDIT]: { value: { name }, configurable: true },
    });
    Reflect.defineMetadata(AUDIT, name, method);
  };

@Injectable()
class AuditedWork {
  @Atomic()
  @Audited('atomic')
  async inAtomic(): Promise<void> {}

  @NewDbContext()
  @Audited('new context')
  async inNewContext(): Promise<void> {}

  @WithDbContext()
  @Audited('context')
  async inContext(): Promise<void> {}

  @Audited('above')
  @WithDbContext()
  @NewDbContext()
  @Atomic()
  @Audited('below')
  async inAll(): Promise<void> {}
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
    { controllers: [WorkController], providers: [Singleton, RequestScoped, AuditedWork] },
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

  it.each([
    ['inAtomic', 'atomic'],
    ['inNewContext', 'new context'],
    ['inContext', 'context'],
  ] as const)('keep the properties that the method has of its own (%s)', async (key, name) => {
    const method = Reflect.get(AuditedWork.prototype, key) as object;
    expect(Object.entries(method)).toEqual([['audit', name]]);
    expect(Object.getOwnPropertyDescriptors(method)).toMatchObject({
      audit: { value: name, enumerable: true, writable: true, configurable: true },
      computedAudit: { get: expect.any(Function), enumerable: false, configurable: true },
      [AUDIT]: { value: { name }, enumerable: false, writable: false, configurable: true },
    });
    expect(Reflect.get(method, 'computedAudit')).toBe(`computed ${name}`);
    expect(Reflect.getMetadata(AUDIT, method)).toBe(name);
    await world.dbContext.run(() => world.app.get(AuditedWork)[key]());
  });

  it('keep the properties of a method through several decorators, in any order', () => {
    const method = Reflect.get(AuditedWork.prototype, 'inAll') as object;
    expect(Reflect.get(method, 'name')).toBe('inAll');
    expect(Reflect.get(method, 'audit')).toBe('above');
    expect(Reflect.getMetadata(AUDIT, method)).toBe('above');
  });

  it('say what is wrong on an object that Nest did not make', async () => {
    const stray = new Singleton(world.session(), world.dbContext);
    await expect(stray.inContext('never')).rejects.toMatchObject({
      constructor: DecoratorNotManagedError,
      message: expect.stringContaining('@WithDbContext() on Work.inContext'),
    });
  });
});
