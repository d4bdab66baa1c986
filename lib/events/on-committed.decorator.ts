import { OnEvent } from '@nestjs/event-emitter';
import type { OnEventOptions, OnEventType } from '@nestjs/event-emitter';

import { ContextRegistry } from '../context/context-registry.js';
import { deferToCommit } from '../context/defer-to-commit.js';
import { runInOwnContext } from '../context/run-and-settle.js';
import { markOpensContext } from '../decorators/handlers.js';
import { decoratorsWith } from '../decorators/managed-method.js';
import { InvalidOptionsError } from '../errors.js';

/** Options of {@link OnCommitted}: those of `@OnEvent()`, and the connection whose commit counts. */
export type OnCommittedOptions = OnEventOptions & {
  /**
   * Name of the connection whose commit is waited for, an early one included.
   * @defaultValue all commits of the context
   */
  readonly connection?: string;
};

/** A decorator of a method that returns nothing, or a promise of nothing. */
export type ListenerDecorator = <Method extends (...args: never[]) => void | Promise<void>>(
  target: object,
  key: string | symbol,
  descriptor: TypedPropertyDescriptor<Method>,
) => void;

const around = decoratorsWith(ContextRegistry);

// The connection is kept as metadata of the method, so that a second @OnCommitted() on it is noticed.
const CONNECTION = Symbol.for('nestjs-db-context:on-committed');

/**
 * Listens to an event of `@nestjs/event-emitter` as `@OnEvent()` does, and runs the method only when the
 * work that the event announces is committed. For an event that is emitted in a context, the method runs
 * after the commit of the context, and never when the context or the savepoint around it is rolled back;
 * for one that is emitted in no context, it runs at once. It always runs in a context of its own.
 *
 * After a commit the method is a hook, see {@link DbContext.onCommit}: hooks run in order and are awaited
 * (for `hookTimeoutMs`) before the response leaves, and what they throw is logged and changes nothing.
 * `suppressErrors` matters only where the method runs at once. The method itself is deferred, also for an
 * event of another `@OnEvent()` on it, and when it is called directly.
 *
 * @param event the event as for `@OnEvent()`: a name, a symbol, or a path
 * @throws {@link InvalidOptionsError} at the declaration: several decorators of one method name different
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
  const defer = around('OnCommitted', async (registry, listener, { place }) => {
    const work = (): Promise<unknown> => runInOwnContext(registry, place, listener);
    if (!deferToCommit(registry, work, connection)) {
      await work();
    }
  });
  return (target, key, descriptor) => {
    const declared = declaredConnection(descriptor.value!);
    if (declared === undefined) {
      defer(target, key, descriptor);
      markOpensContext(descriptor.value!);
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
