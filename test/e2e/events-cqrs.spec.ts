import { Controller, Injectable, Module, Post, Query } from '@nestjs/common';
import {
  AggregateRoot,
  CommandHandler,
  CqrsModule,
  EventBus,
  EventPublisher,
  EventsHandler,
  Saga,
  UnhandledExceptionBus,
  ofType,
  type ICommandHandler,
  type IEventHandler,
} from '@nestjs/cqrs';
import type { EntityManager } from '@mikro-orm/postgresql';
import { map, type Observable } from 'rxjs';
import {
  DbContext,
  DbContextNotActiveError,
  InjectSession,
  InvalidOptionsError,
  WithDbContext,
} from 'nestjs-db-context';
import { DbContextCqrsModule } from 'nestjs-db-context/cqrs';

import { deferred, type Deferred } from '../support/deferred.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { noteConnection, startApp } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { fail, useWorld } from '../support/use-world.js';

class OrderCreated {
  constructor(readonly text: string) {}
}

class OrderPaid {
  constructor(readonly text: string) {}
}

class ShipOrder {
  constructor(readonly text: string) {}
}

class Counted {
  constructor(readonly number: number) {}
}

class Broken {
  readonly reason = 'its handler throws';
}

class Careless {
  readonly reason = 'its handler has no context';
}

class Order extends AggregateRoot {
  create(text: string): void {
    this.apply(new Counted(1));
    this.apply(new OrderCreated(text));
    this.apply(new Counted(2));
  }
}

@Controller()
class OrderController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly publisher: EventPublisher,
  ) {}

  @Post('orders')
  create(@Query('fails') fails?: string): string {
    this.session.persist(new Note('order'));
    const order = this.publisher.mergeObjectContext(new Order());
    order.create('order');
    order.commit();
    if (fails !== undefined) {
      throw new Error('the handler failed');
    }
    return 'ok';
  }
}

@EventsHandler(OrderCreated)
class OrderCreatedHandler implements IEventHandler<OrderCreated> {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @WithDbContext()
  async handle({ text }: OrderCreated): Promise<void> {
    calls.push(`created ${text}`);
    const seen = await world.savedTexts();
    await this.session.insert(Note, { text: `${text} handled` });
    // Long after the bus, and with it the request, has gone on.
    await held;
    await this.session.insert(Note, { text: `${text} handled late, saw ${seen.join()}` });
    done.resolve();
  }
}

@EventsHandler(Counted)
class CountedHandler implements IEventHandler<Counted> {
  constructor(private readonly dbContext: DbContext) {}

  handle({ number }: Counted): void {
    calls.push(`${number}${this.dbContext.isActive() ? ' in a context' : ''}`);
  }
}

@EventsHandler(Broken)
class BrokenHandler implements IEventHandler<Broken> {
  handle(): void {
    throw new Error('the handler of the event failed');
  }
}

@EventsHandler(Careless)
class CarelessHandler implements IEventHandler<Careless> {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async handle(): Promise<void> {
    await this.session.insert(Note, { text: 'never' });
  }
}

@Injectable()
class Sagas {
  @Saga()
  ship(events$: Observable<object>): Observable<ShipOrder> {
    return events$.pipe(
      ofType(OrderPaid),
      map(({ text }) => new ShipOrder(text)),
    );
  }
}

@CommandHandler(ShipOrder)
class ShipOrderHandler implements ICommandHandler<ShipOrder> {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @WithDbContext()
  async execute({ text }: ShipOrder): Promise<void> {
    const seen = await world.savedTexts();
    await this.session.insert(Note, { text: `${text} shipped, saw ${seen.join()}` });
    done.resolve();
  }
}

const shared = useWorld(
  () =>
    startWorld(
      {},
      {
        imports: [CqrsModule.forRoot(), DbContextCqrsModule],
        controllers: [OrderController],
        providers: [
          OrderCreatedHandler,
          CountedHandler,
          BrokenHandler,
          CarelessHandler,
          Sagas,
          ShipOrderHandler,
        ],
      },
    ),
  { hasLateWork: true },
);
const { run, insert } = shared;
let world: TestWorld;
let session: EntityManager;
let dbContext: DbContext;
let bus: EventBus;
let failures: unknown[] = [];
const log = new LogRecorder();
let calls: string[] = [];
let done: Deferred<void>;
/** Awaited by the handler of OrderCreated. */
let held: Promise<void> | undefined;

beforeAll(() => {
  ({ world, session, dbContext } = shared);
  bus = world.app.get(EventBus);
  world.app.get(UnhandledExceptionBus).subscribe(({ exception }) => {
    failures.push(exception);
    done.resolve();
  });
  world.app.useLogger(log);
});

beforeEach(() => {
  log.lines.length = 0;
  calls = [];
  failures = [];
  done = deferred();
  held = undefined;
});

/** Lets all that needs no input or output come to its end. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('an event published in a context', () => {
  it('C5: of AggregateRoot.commit() is published in order, after the commit', async () => {
    const gate = deferred();
    held = gate.promise;
    const response = await world.fetch('/orders', { method: 'POST' });
    expect([response.status, await response.text()]).toEqual([201, 'ok']);
    expect(calls).toEqual(['1', 'created order', '2']);
    gate.resolve();
    await done.promise;
    await world.serverIsIdle();
    expect(await world.savedTexts()).toEqual([
      'order',
      'order handled',
      'order handled late, saw order',
    ]);
  });

  it('C5: is dropped when the request is rolled back', async () => {
    const response = await world.fetch('/orders?fails', { method: 'POST' });
    expect(response.status).toBe(500);
    await settled();
    expect(calls).toEqual([]);
    expect(await world.savedTexts()).toEqual([]);
  });

  it('C5: is dropped with a rolled-back savepoint', async () => {
    await run(async () => {
      await session
        .transactional(async () => {
          bus.publish(new Counted(1));
          fail();
        })
        .catch(() => undefined);
      await session.transactional(async () => void bus.publish(new Counted(2)));
    });
    expect(calls).toEqual(['2']);
  });

  it('C5: publish() and publishAll() are one hook each, in order', async () => {
    await run(async () => {
      bus.publish(new Counted(1));
      dbContext.onCommit(() => calls.push('hook'));
      bus.publishAll([new Counted(2), new Counted(3)]);
      dbContext.onCommit(() => calls.push('last'));
      expect(calls).toEqual([]);
    });
    expect(calls).toEqual(['1', 'hook', '2', '3', 'last']);
  });

  it('C5: starts a saga, whose command has a context of its own', async () => {
    await run(async () => {
      await insert('order');
      bus.publish(new OrderPaid('order'));
    });
    await done.promise;
    await world.serverIsIdle();
    expect(await world.savedTexts()).toEqual(['order', 'order shipped, saw order']);
  });

  it('C5: whose handler fails is published on the UnhandledExceptionBus, not thrown to the caller', async () => {
    await run(async () => {
      await insert('order');
      bus.publish(new Broken());
      bus.publish(new Counted(1));
    });
    await done.promise;
    expect(failures).toEqual([new Error('the handler of the event failed')]);
    expect(calls).toEqual(['1']);
    expect(await world.savedTexts()).toEqual(['order']);
  });

  it('C5: whose handler uses a session without @WithDbContext() fails clearly', async () => {
    await run(async () => void bus.publish(new Careless()));
    await done.promise;
    expect(failures).toEqual([expect.any(DbContextNotActiveError)]);
  });

  it('C5: after the end of that is published if it had committed', async () => {
    for (const end of [async () => undefined, fail]) {
      const later = deferred();
      let late: Promise<unknown> | undefined;
      await run(async () => {
        await insert(`before ${end.name}`);
        late = later.promise.then(() => bus.publish(new Counted(1)));
        await end();
      }).catch(() => undefined);
      later.resolve();
      await late;
      await settled();
    }
    expect(calls).toEqual(['1']);
  });
});

describe('an event published outside of any context', () => {
  it('C5: is published at once', () => {
    bus.publish(new Counted(1));
    expect(calls).toEqual(['1']);
    bus.publishAll([new Counted(2), new Counted(3)]);
    expect(calls).toEqual(['1', '2', '3']);
  });
});

@Module({ imports: [CqrsModule] })
class FeatureModule {}

describe('the module', () => {
  it('C5: holds back every bus of the application', async () => {
    const other = await startWorld(
      {},
      { imports: [CqrsModule.forRoot(), FeatureModule, DbContextCqrsModule] },
    );
    const buses = other.app.get<EventBus>(EventBus, { strict: false, each: true });
    expect(new Set(buses).size).toBe(2);
    for (const [index, each] of buses.entries()) {
      each.subscribe(() => calls.push(`bus ${index}`));
    }
    await other.dbContext.run(async () => {
      buses.forEach((each) => each.publish(new Counted(1)));
      expect(calls).toEqual([]);
    });
    expect(calls).toEqual(['bus 0', 'bus 1']);
    await other.close();
  });

  it('C5: refuses to boot without an EventBus', async () => {
    const connections = [noteConnection(world.database.url)];
    await expect(startApp({ connections, imports: [DbContextCqrsModule] })).rejects.toThrow(
      InvalidOptionsError,
    );
  });
});
