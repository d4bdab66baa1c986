import { OnEvent } from '@nestjs/event-emitter';
import type { OnEventOptions, OnEventType } from '@nestjs/event-emitter';

import { ContextRegistry } from '../context/context-registry.js';
import { runInOwnContext } from '../context/run-and-settle.js';
import { decoratorsWith } from '../decorators/managed-method.js';
import { InvalidOptionsError } from '../errors.js';
import { deferToCommit } from './defer-to-commit.js';

/** Options of {@link OnCommitted}: those of `@OnEvent()`, and the commit that is meant. */
export type OnCommittedOptions = OnEventOptions & {
  /**
   * Name of the connection whose commit is waited for, an early one included.
   * @defaultValue all commits of the context
   */
  readonly connection?: string;
};

/** A decorator of a method whose result nobody gets. */
export type ListenerDecorator = <Method extends (...args: never[]) => void | Promise<void>>(
  target: object,
  key: string | symbol,
  descriptor: TypedPropertyDescriptor<Method>,
) => void;

const around = decoratorsWith(ContextRegistry);

// On the method itself, where what stacks decorators finds it.
const CONNECTION = Symbol.for('nestjs-db-context:on-committed');

/**
 * Listens to an event of `@nestjs/event-emitter` as `@OnEvent()` does, and runs the method when what
 * the event tells of is committed: emitted in a context, after its commit, and never when that or
 * the savepoint around is rolled back; emitted in none, at once. Always in a context of its own.
 *
 * After a commit it is a hook, see {@link DbContext.onCommit}: in order, awaited (`hookTimeoutMs`)
 * before the response leaves, and what it throws is logged and changes nothing. `suppressErrors`
 * counts only where the method runs at once. The method as a whole waits, so also for an event of
 * `@OnEvent()` beside it, and when it is called directly.
 *
 * @param event as of `@OnEvent()`: a name, a symbol, or a path
 * @throws {@link InvalidOptionsError} at the declaration: several of one method name different
 *   connections
 * @throws {@link DecoratorNotManagedError} on a call: the class is not a provider of Nest
 * @throws {@link UnknownConnectionError} on a call in a context; the emitter logs it
 * @example
 * ```ts
 * @OnCommitted('order.created')
 * async confirm(order: OrderCreated): Promise<void> {
 *   await this.mailer.send(order.email);
 * }
 * ```
 * @publicApi
 */
export function OnCommitted(
  event: OnEventType,
  options: OnCommittedOptions = {},
): ListenerDecorator {
  const { connection, ...eventOptions } = options;
  const defer = around('OnCommitted', async (host, listener, place) => {
    const work = (): Promise<unknown> => runInOwnContext(host, place, listener);
    if (!deferToCommit(host, work, connection)) {
      await work();
    }
  });
  return (target, key, descriptor) => {
    const declared = declaredConnection(descriptor.value!);
    if (declared === undefined) {
      defer(target, key, descriptor);
      Reflect.defineMetadata(CONNECTION, { connection }, descriptor.value!);
    } else if (declared.connection !== connection) {
      throw new InvalidOptionsError(
        `The @OnCommitted() decorators of ${target.constructor.name}.${String(key)}() name ` +
          'different connections. Give all of them the same one, or split the method.',
      );
    }
    OnEvent(event, eventOptions)(target, key, descriptor);
  };
}

function declaredConnection(method: object): { readonly connection?: string } | undefined {
  return Reflect.getOwnMetadata(CONNECTION, method) as { readonly connection?: string } | undefined;
}
