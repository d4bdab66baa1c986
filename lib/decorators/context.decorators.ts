import { DbContext } from '../context/db-context.service.js';
import type { AtomicOptions } from '../context/run-options.js';
import { decoratorsWith } from './managed-method.js';

type AnyClass = abstract new (...args: never) => unknown;

/** A decorator of a method that is not static and returns a promise. */
export type AsyncMethodDecorator = <
  Target extends object,
  Method extends (...args: never[]) => Promise<unknown>,
>(
  // The target of a static method is the class itself, into which Nest injects nothing.
  target: Target extends AnyClass ? never : Target,
  key: string | symbol,
  descriptor: TypedPropertyDescriptor<Method>,
) => void;

const around = decoratorsWith(DbContext);

/**
 * Runs a method in a context: in the active one, else in a new one that ends with the method. It is for
 * methods that no interceptor reaches: cron jobs, queue consumers, event handlers. See
 * {@link DbContext.run}.
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
