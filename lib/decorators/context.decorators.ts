import { Inject } from '@nestjs/common';

import { DbContext, type AtomicOptions } from '../context/db-context.service.js';
import { DecoratorNotManagedError } from '../errors.js';

/** A decorator of a method that returns a promise. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- it stands for any parameters
export type AsyncMethodDecorator = <Arguments extends unknown[], Result>(
  target: object,
  key: string | symbol,
  descriptor: TypedPropertyDescriptor<(...args: Arguments) => Promise<Result>>,
) => void;

/**
 * Runs a method in a context: in the active one, else in one of its own. For methods that no
 * interceptor reaches: cron jobs, queue consumers, event handlers. See {@link DbContext.run}.
 *
 * @throws {@link DecoratorNotManagedError} on a call: the class is not a provider of Nest
 * @example
 * ```ts
 * @WithDbContext()
 * @Cron('0 3 * * *')
 * async sendInvoices(): Promise<void> {}
 * ```
 * @publicApi
 */
export function WithDbContext(): AsyncMethodDecorator {
  return around('WithDbContext', (dbContext, method) => dbContext.run(method));
}

/**
 * Runs a method in a context of its own. See {@link DbContext.runInNewContext}.
 *
 * @throws {@link DecoratorNotManagedError} on a call: the class is not a provider of Nest
 * @publicApi
 */
export function NewDbContext(): AsyncMethodDecorator {
  return around('NewDbContext', (dbContext, method) => dbContext.runInNewContext(method));
}

/**
 * Runs a method as a transaction of its own on the session of the current context. See
 * {@link DbContext.atomic}.
 *
 * @throws {@link DecoratorNotManagedError} on a call: the class is not a provider of Nest
 * @example
 * ```ts
 * @Atomic({ current: 'savepoint' })
 * async tryTransfer(order: Order): Promise<void> {}
 * ```
 * @publicApi
 */
export function Atomic(options: AtomicOptions = {}): AsyncMethodDecorator {
  return around('Atomic', (dbContext, method) => dbContext.atomic(method, options));
}

type Around = <T>(dbContext: DbContext, method: () => Promise<T>) => Promise<T>;

// Nest puts the service here: by property, so that the class need not name it in its constructor.
const DB_CONTEXT = Symbol('nestjs-db-context:db-context');

function around(decorator: string, run: Around): AsyncMethodDecorator {
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- it stands for any parameters
  return <Arguments extends unknown[], Result>(
    target: object,
    key: string | symbol,
    descriptor: TypedPropertyDescriptor<(...args: Arguments) => Promise<Result>>,
  ): void => {
    const original = descriptor.value!;
    if (!Object.hasOwn(target, DB_CONTEXT)) {
      // Only a declaration for the check above; what Nest sets on the instance hides it.
      Object.defineProperty(target, DB_CONTEXT, { value: undefined, writable: true });
      Inject(DbContext)(target, DB_CONTEXT);
    }
    const wrapped = async function (
      this: { readonly [DB_CONTEXT]?: DbContext },
      ...args: Arguments
    ): Promise<Result> {
      const dbContext = this?.[DB_CONTEXT];
      if (dbContext === undefined) {
        throw new DecoratorNotManagedError(decorator, target.constructor.name, String(key));
      }
      return run(dbContext, () => original.apply(this, args));
    };
    copyIdentity(original, wrapped);
    descriptor.value = wrapped;
  };
}

/** Other decorators keep what they know of a method on the function itself. */
function copyIdentity(from: object, to: object): void {
  for (const property of ['name', 'length']) {
    Object.defineProperty(to, property, Object.getOwnPropertyDescriptor(from, property)!);
  }
  for (const key of Reflect.getOwnMetadataKeys(from)) {
    Reflect.defineMetadata(key, Reflect.getOwnMetadata(key, from), to);
  }
}
