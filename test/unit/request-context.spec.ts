import { AsyncLocalStorage } from 'node:async_hooks';

import { RequestContext, type EntityManager } from '@mikro-orm/core';

import { currentContext, runWithContext } from '../../lib/context/context-storage.js';
import type { Context } from '../../lib/context/context.js';
import {
  ContextRequest,
  OwnRequestContext,
  runAsRequest,
} from '../../lib/session/request-context.js';

const managerOf = (name: string): EntityManager => ({ name }) as EntityManager;
const nameOf = (contextName?: string): string | undefined =>
  (RequestContext.getEntityManager(contextName) as { readonly name: string } | undefined)?.name;

/** An application with one connection. */
function application(
  connection: string,
  contextName = 'default',
): { readonly owner: object; readonly run: <T>(callback: () => T) => T } {
  const owner = {};
  const find = (name: string): EntityManager | undefined =>
    name === contextName && currentContext(owner) !== undefined ? managerOf(connection) : undefined;
  const own = new OwnRequestContext({
    find,
    current: (outer) =>
      currentContext(owner) === undefined ? undefined : new ContextRequest(find, outer),
  });
  return {
    owner,
    run: (callback) =>
      runAsRequest(own, undefined, (requestContext) =>
        runWithContext(owner, {} as Context, callback, requestContext),
      ),
  };
}

/** Puts another method in the place of one while `work` runs. */
function replaced<T extends object>(
  target: T,
  name: string & keyof T,
  other: (...args: never[]) => unknown,
  work: () => void,
): void {
  const own = Object.getOwnPropertyDescriptor(target, name)!;
  Object.defineProperty(target, name, { ...own, value: other });
  try {
    work();
  } finally {
    Object.defineProperty(target, name, own);
  }
}

/** Counts the async storages that are entered. */
function storagesEntered(work: () => void): number {
  const { prototype } = AsyncLocalStorage;
  const run = Reflect.get(prototype, 'run') as (...args: unknown[]) => unknown;
  let count = 0;
  const counted = function counted(this: unknown, ...args: unknown[]): unknown {
    count += 1;
    return run.apply(this, args);
  };
  replaced(prototype, 'run', counted, work);
  return count;
}

describe('MikroORM’s RequestContext in a context', () => {
  it('W2: answers with the session, and is entered by no storage of its own', () => {
    const { run } = application('one');
    let name: string | undefined;
    const entered = storagesEntered(() => run(() => (name = nameOf())));
    expect({ name, entered }).toEqual({ name: 'one', entered: 1 });
    expect(nameOf()).toBeUndefined();
  });

  it('W2: is the one that code has entered inside, and that of the context again after it', () => {
    const { run } = application('one');
    run(() => {
      const storage = (RequestContext as unknown as { storage: AsyncLocalStorage<unknown> })
        .storage;
      const inner = new RequestContext(new Map([['default', managerOf('inner')]]));
      expect(storage.run(inner, () => nameOf())).toBe('inner');
      expect(storage.run(inner, () => run(() => nameOf()))).toBe('one');
      expect(nameOf()).toBe('one');
    });
  });

  it('W2: of two applications is that of the inner one, and behind it that of the outer one', () => {
    const one = application('one', 'first');
    const two = application('two', 'second');
    const names = (): unknown => [nameOf('first'), nameOf('second')];
    one.run(() => {
      expect(names()).toEqual(['one', undefined]);
      two.run(() => {
        expect(names()).toEqual(['one', 'two']);
        one.run(() => expect(names()).toEqual(['one', 'two']));
      });
    });
  });

  it('W2: of two applications with the same context name is that of the inner one', () => {
    const one = application('one');
    const two = application('two');
    one.run(() => {
      two.run(() => {
        expect(nameOf()).toBe('two');
        one.run(() => expect(nameOf()).toBe('one'));
        expect(nameOf()).toBe('two');
      });
      expect(nameOf()).toBe('one');
    });
  });

  it('W2: does not answer outside of the context that the code was taken out of', () => {
    const { owner, run } = application('one');
    run(() => {
      expect(runWithContext(owner, undefined, () => nameOf())).toBeUndefined();
    });
  });

  it('W2: is that of the inner context, where a second copy of the library has opened the outer one', () => {
    const { run } = application('one');
    const ofCopy = new RequestContext(new Map([['default', managerOf('copy')]]));
    const { storage } = RequestContext as unknown as {
      readonly storage: AsyncLocalStorage<RequestContext>;
    };
    replaced(
      RequestContext,
      'currentRequestContext',
      () => storage.getStore() ?? ofCopy,
      () => {
        expect(nameOf()).toBe('copy');
        run(() => expect(nameOf()).toBe('one'));
      },
    );
  });
});
