import { Controller, Injectable, Post, Query } from '@nestjs/common';
import { EventEmitter2, EventEmitterModule, OnEvent } from '@nestjs/event-emitter';
import type { EntityManager } from '@mikro-orm/postgresql';
import {
  DbContext,
  DecoratorNotManagedError,
  InjectSession,
  InvalidOptionsError,
} from 'nestjs-db-context';
import { OnCommitted } from 'nestjs-db-context/event-emitter';

import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { startWorld, type TestWorld } from '../support/test-world.js';
import { fail, useWorld } from '../support/use-world.js';

const CLOSED = Symbol('closed');

@Controller()
class OrderController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly emitter: EventEmitter2,
  ) {}

  @Post('orders')
  create(@Query('fails') fails?: string): string {
    this.session.persist(new Note('order'));
    this.emitter.emit('order.created', 'order');
    if (fails !== undefined) {
      throw new Error('the handler failed');
    }
    return 'ok';
  }
}

@Injectable()
class Listeners {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @OnCommitted('order.created')
  async onCreated(text: string): Promise<void> {
    calls.push(`created ${text} sees ${(await world.savedTexts()).join()}`);
    await this.session.insert(Note, { text: `${text} handled` });
  }

  @OnCommitted('order.created')
  onCreatedToo(): void {
    calls.push(`second in ${this.dbContext.isActive() ? 'a' : 'no'} context`);
  }

  @OnEvent('order.created')
  onEvent(): void {
    calls.push('at once');
  }

  @OnCommitted('fails')
  async onFailure(): Promise<void> {
    await this.session.insert(Note, { text: 'undone' });
    throw new Error('the listener failed');
  }

  @OnCommitted('fails')
  afterFailure(): void {
    calls.push('after the failure');
  }

  @OnCommitted('strict', { suppressErrors: false })
  onStrict(): void {
    throw new Error('the strict listener failed');
  }

  @OnCommitted('bound', { connection: 'default' })
  onBound(): void {
    calls.push('bound');
  }

  @OnCommitted('unknown', { connection: 'none' })
  onUnknown(): void {
    calls.push('never');
  }

  @OnCommitted('order.*.done')
  onWildcard(text: string): void {
    calls.push(`wildcard ${text}`);
  }

  @OnCommitted(['order', 'path'])
  onPath(): void {
    calls.push('path');
  }

  // With wildcards, the emitter knows symbols only as a part of a path.
  @OnCommitted(['order', CLOSED])
  onSymbol(): void {
    calls.push('symbol');
  }

  @OnCommitted('plain')
  onPlain(text: string): void {
    calls.push(`plain ${text}`);
  }

  @OnCommitted('pair')
  onPair(): void {
    calls.push('declared first');
  }

  @OnCommitted('pair', { prependListener: true })
  onPairFirst(): void {
    calls.push('prepended');
  }

  @OnCommitted('stacked.a')
  @OnCommitted('stacked.b')
  onStacked(text: string): void {
    calls.push(text);
  }
}

const shared = useWorld(() =>
  startWorld(
    {},
    {
      imports: [EventEmitterModule.forRoot({ wildcard: true })],
      controllers: [OrderController],
      providers: [Listeners],
    },
  ),
);
const { run, insert } = shared;
let world: TestWorld;
let session: EntityManager;
let dbContext: DbContext;
let emitter: EventEmitter2;
const log = new LogRecorder();
let calls: string[] = [];

beforeAll(() => {
  ({ world, session, dbContext } = shared);
  emitter = world.app.get(EventEmitter2);
  world.app.useLogger(log);
});

beforeEach(() => {
  log.lines.length = 0;
  calls = [];
});

const logged = (context: string): string =>
  log.lines
    .filter((line) => line.level === 'error' && line.context === context)
    .map(({ message }) => message)
    .join();

describe('@OnCommitted in a context', () => {
  it('C5: listens after the commit and before the response, in a context of its own', async () => {
    const response = await world.fetch('/orders', { method: 'POST' });
    expect([response.status, await response.text()]).toEqual([201, 'ok']);
    expect(calls).toEqual(['at once', 'created order sees order', 'second in a context']);
    expect(await world.savedTexts()).toEqual(['order', 'order handled']);
  });

  it('C5: does not listen when the request is rolled back', async () => {
    const response = await world.fetch('/orders?fails', { method: 'POST' });
    expect(response.status).toBe(500);
    expect(calls).toEqual(['at once']);
    expect(await world.savedTexts()).toEqual([]);
  });

  it('C5: emitAsync() does not wait for the commit either', async () => {
    await run(async () => {
      await insert('a');
      expect(await emitter.emitAsync('order.created', 'a')).toEqual([
        undefined,
        undefined,
        undefined,
      ]);
      expect(calls).toEqual(['at once']);
    });
    expect(calls).toEqual(['at once', 'created a sees a', 'second in a context']);
  });

  it('C5: an event of a rolled-back savepoint is dropped', async () => {
    await run(async () => {
      await session
        .transactional(async () => {
          emitter.emit('plain', 'undone');
          fail();
        })
        .catch(() => undefined);
      await session.transactional(async () => {
        emitter.emit('plain', 'kept');
      });
      await insert('a');
    });
    expect(calls).toEqual(['plain kept']);
  });

  it('C5: listeners run in the order in which the events were emitted', async () => {
    await run(async () => {
      emitter.emit('order.1.done', 1);
      dbContext.onCommit(() => calls.push('hook'));
      emitter.emit('plain', 2);
      emitter.emit('order.3.done', 3);
    });
    expect(calls).toEqual(['wildcard 1', 'hook', 'plain 2', 'wildcard 3']);
  });

  it('C5: a listener that throws is logged, loses only its own work, and stops no other', async () => {
    await run(async () => {
      await insert('a');
      emitter.emit('fails');
      emitter.emit('strict');
    });
    expect(calls).toEqual(['after the failure']);
    expect(await world.savedTexts()).toEqual(['a']);
    expect(logged('DbContext')).toContain('the listener failed');
    expect(logged('DbContext')).toContain('the strict listener failed');
  });

  it('C5: one of a connection listens at its early commit', async () => {
    await run(async () => {
      await insert('a');
      emitter.emit('bound');
      emitter.emit('plain', 'at the end');
      await session.commit();
      expect(calls).toEqual(['bound']);
    });
    expect(calls).toEqual(['bound', 'plain at the end']);
  });

  it('C5: one of an unknown connection is logged by the emitter', async () => {
    await run(async () => void (await emitter.emitAsync('unknown')));
    expect(calls).toEqual([]);
    expect(logged('Event')).toContain('There is no connection "none"');
  });

  it('C5: an event belongs to the innermost context', async () => {
    await run(async () => {
      await dbContext.runInNewContext(async () => void emitter.emit('plain', 'inner'));
      expect(calls).toEqual(['plain inner']);
      emitter.emit('plain', 'outer');
      fail();
    }).catch(() => undefined);
    expect(calls).toEqual(['plain inner']);
  });

  it('C5: an event emitted in onRollback is heard', async () => {
    await run(async () => {
      dbContext.onRollback(() => emitter.emit('plain', 'undone'));
      fail();
    }).catch(() => undefined);
    expect(calls).toEqual(['plain undone']);
  });
});

describe('@OnCommitted outside of any context', () => {
  it('C5: listens at once, in a context of its own', async () => {
    await emitter.emitAsync('order.created', 'a');
    expect(calls.toSorted()).toEqual(['at once', 'created a sees ', 'second in a context']);
    expect(await world.savedTexts()).toEqual(['a handled']);
  });

  it('C5: what it throws undoes its work and goes the way of @OnEvent', async () => {
    await emitter.emitAsync('fails');
    expect(calls).toEqual(['after the failure']);
    expect(await world.savedTexts()).toEqual([]);
    expect(logged('Event')).toContain('the listener failed');
    await expect(emitter.emitAsync('strict')).rejects.toThrow('the strict listener failed');
    expect(logged('DbContext')).toBe('');
  });
});

describe('the declaration of @OnCommitted', () => {
  it('C5: takes paths and symbols, and passes the options of @OnEvent on', async () => {
    await run(async () => {
      emitter.emit('order.path');
      emitter.emit(['order', CLOSED]);
      emitter.emit('pair');
    });
    expect(calls).toEqual(['path', 'symbol', 'prepended', 'declared first']);
  });

  it('C5: may be repeated; each event is heard once', async () => {
    await run(async () => {
      emitter.emit('stacked.a', 'a');
      emitter.emit('stacked.b', 'b');
      expect(calls).toEqual([]);
    });
    expect(calls).toEqual(['a', 'b']);
  });

  it('C5: refuses different connections on one method', () => {
    expect(() => {
      class Wrong {
        @OnCommitted('a')
        @OnCommitted('b', { connection: 'reports' })
        on(): void {}
      }
      return Wrong;
    }).toThrow(InvalidOptionsError);
  });

  it('C5: keeps the name of the method, and holds for a direct call', async () => {
    const listeners = world.app.get(Listeners);
    const method: unknown = Reflect.get(Listeners.prototype, 'onCreated');
    expect(method).toHaveProperty('name', 'onCreated');
    expect(method).toHaveLength(1);
    await run(async () => {
      await listeners.onCreated('a');
      expect(calls).toEqual([]);
    });
    expect(calls).toEqual(['created a sees ']);
  });

  it('C5: throws on an object that Nest did not make', async () => {
    const unmanaged = new Listeners(session, dbContext);
    await expect(unmanaged.onCreated('a')).rejects.toThrow(DecoratorNotManagedError);
  });
});
