import { Injectable, Scope, type OnApplicationBootstrap, type OnModuleInit } from '@nestjs/common';
import {
  AsyncContext,
  CqrsModule,
  EventBus,
  EventsHandler,
  type IEvent,
  type IEventHandler,
  type IEventPublisher,
} from '@nestjs/cqrs';
import type { DbContext } from 'nestjs-db-context';
import { DbContextCqrsModule } from 'nestjs-db-context/cqrs';

import { deferred } from '../support/deferred.js';
import { LogRecorder } from '../support/log-recorder.js';
import type { TestAppOptions } from '../support/test-app.js';
import { startWorld, type TestWorld } from '../support/test-world.js';

class Happened {
  constructor(readonly name: string) {}
}

/** Records what it is given, and passes it on. */
class Recorder implements IEventPublisher {
  readonly published: unknown[][] = [];
  next: IEventPublisher | undefined;

  publish(event: IEvent, ...rest: unknown[]): unknown {
    this.published.push([event, ...rest]);
    this.next?.publish(event);
    return 'published';
  }
}

class BatchRecorder extends Recorder {
  publishAll(events: IEvent[], ...rest: unknown[]): unknown {
    this.published.push([events, ...rest]);
    return 'published all';
  }
}

@EventsHandler(Happened)
@Injectable({ scope: Scope.REQUEST })
class RequestScopedHandler implements IEventHandler<Happened> {
  constructor() {
    made += 1;
  }

  handle(event: Happened): void {
    handled(event.name);
  }
}

const recorder = new Recorder();

@Injectable()
class SetsOnInit implements OnModuleInit {
  constructor(private readonly bus: EventBus) {}

  onModuleInit(): void {
    recorder.next = this.bus.publisher;
    this.bus.publisher = recorder;
  }
}

@Injectable()
class SetsOnBootstrap implements OnApplicationBootstrap {
  constructor(private readonly bus: EventBus) {}

  onApplicationBootstrap(): void {
    recorder.next = this.bus.publisher;
    this.bus.publisher = recorder;
  }
}

let world: TestWorld | undefined;
let dbContext: DbContext;
let bus: EventBus;
let made = 0;
let handled: (name: string) => void = () => undefined;
const log = new LogRecorder();

async function start(
  options: Partial<TestAppOptions>,
  eventPublisher?: IEventPublisher,
): Promise<void> {
  const cqrs = CqrsModule.forRoot(eventPublisher === undefined ? {} : { eventPublisher });
  world = await startWorld({}, { imports: [DbContextCqrsModule, cqrs], ...options });
  ({ dbContext } = world);
  bus = world.app.get(EventBus);
  world.app.useLogger(log);
}

beforeEach(() => {
  log.lines.length = 0;
  recorder.published.length = 0;
  recorder.next = undefined;
  made = 0;
});

afterEach(async () => {
  await world?.close();
  world = undefined;
});

const a = new Happened('a');
const b = new Happened('b');

it.each([
  ['onModuleInit', SetsOnInit],
  ['onApplicationBootstrap', SetsOnBootstrap],
])('C5: a publisher that is set in %s is held back, too', async (_hook, provider) => {
  await start({ providers: [provider] });
  const heard: unknown[] = [];
  bus.subscribe((event) => heard.push(event));
  expect(bus.publisher).toBe(recorder);
  await dbContext.run(async () => {
    bus.publish(a);
    expect([...recorder.published, ...heard]).toEqual([]);
  });
  expect(recorder.published).toEqual([[a, undefined, undefined]]);
  expect(heard).toEqual([a]);
});

it('C5: the publisher of forRoot() is given the dispatcher and the async context', async () => {
  await start({}, recorder);
  const asyncContext = new AsyncContext();
  const dispatcher = {};
  const first = new Happened('first');
  const others = [new Happened('second'), new Happened('third')];
  await dbContext.run(async () => {
    expect(bus.publish(first, dispatcher, asyncContext)).toBeUndefined();
    expect(bus.publishAll(others, dispatcher, asyncContext)).toBeUndefined();
    expect(recorder.published).toEqual([]);
  });
  expect(recorder.published).toEqual(
    [first, ...others].map((event) => [event, dispatcher, asyncContext]),
  );
  expect(AsyncContext.of(first)).toBe(asyncContext);
});

it('C5: a publisher that has publishAll() is given all of them in one call', async () => {
  const batches = new BatchRecorder();
  await start({}, batches);
  await dbContext.run(async () => {
    const events = [a, b];
    bus.publishAll(events);
    events.length = 0;
  });
  expect(batches.published).toEqual([[[a, b], undefined, undefined]]);
  expect(bus.publishAll([a])).toBe('published all');
});

it('C5: in no context, the results of the publisher are returned', async () => {
  await start({}, recorder);
  expect(bus.publish(a)).toBe('published');
  expect(bus.publishAll([a, b])).toEqual(['published', 'published']);
});

it('C5: a publisher that fails is logged, and keeps no other event back', async () => {
  const published: string[] = [];
  await start({}, {
    publish: ({ name }: Happened) => {
      if (name === 'a') {
        throw new Error('it failed at once');
      }
      published.push(name);
      return Promise.reject(new Error('it failed later'));
    },
  } as IEventPublisher);
  await dbContext.run(async () => void bus.publishAll([a, b]));
  expect(published).toEqual(['b']);
  expect(log.ofLibrary('error')).toEqual([
    'an event in the context of dbContext.run() could not be published: it failed at once',
    'an event in the context of dbContext.run() could not be published: it failed later',
  ]);
});

it('C5: a publisher is awaited', async () => {
  let isOver = false;
  const publish = async (): Promise<void> => {
    await new Promise((resolve) => setImmediate(resolve));
    isOver = true;
  };
  await start({}, { publish });
  await dbContext.run(async () => void bus.publish(a));
  expect(isOver).toBe(true);
});

it('C5: a request-scoped handler is made per async context, after the commit', async () => {
  await start({ providers: [RequestScopedHandler] });
  const names: string[] = [];
  const all = deferred();
  handled = (name) => {
    names.push(name);
    if (names.length === 2) {
      all.resolve();
    }
  };
  const asyncContext = new AsyncContext();
  await dbContext.run(async () => {
    bus.publish(new Happened('first'), asyncContext);
    bus.publish(new Happened('second'), asyncContext);
    expect(made).toBe(0);
  });
  await all.promise;
  expect([made, names]).toEqual([1, ['first', 'second']]);
});
