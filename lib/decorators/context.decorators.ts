import { inspect } from 'node:util';

import { checkAtomicSettings } from '../context/atomic.js';
import { DbContext } from '../context/db-context.service.js';
import type { AtomicOptions, RunOptions } from '../context/run-options.js';
import { InvalidOptionsError } from '../errors.js';
import { checkKeys } from '../options/option-keys.js';
import { handlersOf, jobDecoratorOf, markJob, markOpensContext } from './handlers.js';
import { endOfJob } from './job-ends.js';
import { settingsOfJob } from './job-settings.js';
import { reportOfListener } from './listeners.js';
import { decoratorsWith, type DecoratedCall } from './managed-method.js';

/** A decorator of a method that is not static and returns a promise. */
export type AsyncMethodDecorator = <
  Target extends object,
  Method extends (...args: never[]) => Promise<unknown>,
>(
  // The target of a static method is the class itself, into which Nest injects nothing.
  target: Target extends abstract new (...args: never) => unknown ? never : Target,
  key: string | symbol,
  descriptor: TypedPropertyDescriptor<Method>,
) => void;

/** A decorator of a class, or of a method of one as {@link AsyncMethodDecorator}. */
export type HandlerDecorator = AsyncMethodDecorator &
  ((target: abstract new (...args: never) => unknown) => void);

/**
 * Options of {@link WithDbContext} and {@link NewDbContext}. They hold for the contexts that these open; one that
 * is active already is ended by what has opened it.
 */
export type HandlerOptions = Pick<RunOptions<unknown>, 'commitOn' | 'commitOnError'>;

const around = decoratorsWith(DbContext);

/**
 * Runs a method in a context: in the active one, else in a new one that ends with the method. It is for
 * methods that no interceptor reaches: cron jobs, queue consumers, event handlers. The context has the
 * name of the method in all messages, `ReportJob.process`. See {@link DbContext.run}.
 *
 * On a class it does so for each of its handlers, inherited ones included: a method that is called
 * `process`, `handle`, `execute` or `run`, and one that a decorator of another library marks, such as
 * `@Cron()`, `@OnWorkerEvent()` or `@OnEvent()`. Each of them returns a promise from then on. Methods with
 * `@WithDbContext()`, `@NewDbContext()` or `@OnCommitted()` of their own stay as they are.
 *
 * Nobody waits for a listener of BullMQ (`@OnWorkerEvent()`, `@OnQueueEvent()`), nor for the hooks of a gateway
 * (`handleConnection()`, `handleDisconnect()`, `afterInit()`): when one fails, the log has its error, and the
 * process goes on.
 *
 * For `process` of a `@Processor()` of BullMQ the errors by which a job goes on later (`DelayedError`,
 * `WaitingError`, `WaitingChildrenError`, `RateLimitError`) commit, and a result that BullMQ could not keep fails
 * the job before its commit. `commitOnError` and `commitOn` take the place of that, one by one.
 *
 * @throws {@link DecoratorNotManagedError} on a call: the class is not a provider of Nest
 * @throws {@link InvalidOptionsError} as the class is loaded: an option is not valid, or a class has no handler
 * @example
 * ```ts
 * @WithDbContext()
 * @Cron('0 3 * * *')
 * async sendInvoices(): Promise<void> {}
 * ```
 * @publicApi
 */
export function WithDbContext(options: HandlerOptions = {}): HandlerDecorator {
  checkHandlerOptions(options, '@WithDbContext()');
  const inContext = around('WithDbContext', (dbContext, call) => {
    const isJoined = dbContext.isActive();
    const { method, ends } = planOf(dbContext, call, isJoined ? 'transaction' : 'context');
    // A context that is active already is ended by what has opened it.
    const own = isJoined ? {} : { ...ends, ...options };
    return reportOfListener(dbContext.run(method, { ...own, name: call.place }), call);
  });
  return (target: object, key?: string | symbol, descriptor?: PropertyDescriptor): void => {
    if (key !== undefined && descriptor !== undefined) {
      inContext(target, key, descriptor);
      markOpensContext(descriptor.value as object);
      markJob(descriptor.value as object, 'WithDbContext');
      return;
    }
    const owner = target as abstract new (...args: never) => unknown;
    const prototype = owner.prototype as object;
    for (const handler of handlersOf(owner)) {
      const own = { ...handler.descriptor };
      inContext(prototype, handler.key, own);
      markJob(own.value as object, 'WithDbContext');
      Object.defineProperty(prototype, handler.key, own);
    }
  };
}

/**
 * Runs a method in a context of its own. See {@link DbContext.runInNewContext}.
 *
 * @throws {@link DecoratorNotManagedError} on a call: the class is not a provider of Nest
 * @throws {@link InvalidOptionsError} as the class is loaded: an option is not valid
 * @publicApi
 */
export function NewDbContext(options: HandlerOptions = {}): AsyncMethodDecorator {
  checkHandlerOptions(options, '@NewDbContext()');
  const inNewContext = around('NewDbContext', (dbContext, call) => {
    const { method, ends } = planOf(dbContext, call, 'context');
    const own = { ...ends, ...options, name: call.place };
    return reportOfListener(dbContext.runInNewContext(method, own), call);
  });
  return (target, key, descriptor) => {
    inNewContext(target, key, descriptor);
    markOpensContext(descriptor.value!);
    markJob(descriptor.value!, 'NewDbContext');
  };
}

function checkHandlerOptions(options: HandlerOptions, where: string): void {
  checkKeys(options, 'handler', where);
  for (const [key, value] of Object.entries(options)) {
    if (value !== undefined && typeof value !== 'function') {
      throw new InvalidOptionsError(
        `${where} has ${key}: ${inspect(value)}. Give a function that returns true or false.`,
      );
    }
  }
}

/**
 * What a call runs, and how its context ends, with the settings of `@DbTransaction()` and the like.
 *
 * @param scope what the settings hold for: a context of its own, or the transaction of the one it joins
 */
function planOf(
  dbContext: DbContext,
  call: DecoratedCall,
  scope: 'context' | 'transaction',
): { readonly method: () => Promise<unknown>; readonly ends: Partial<RunOptions<unknown>> } {
  const { transactions, ends } = settingsOfJob(call);
  const method = async (): Promise<unknown> => {
    transactions.forEach((each) => dbContext.demand(scope, each));
    return call.method();
  };
  return {
    method: transactions.length === 0 ? call.method : method,
    ends: { ...endOfJob(call), ...ends } as Partial<RunOptions<unknown>>,
  };
}

/**
 * Runs a method as a transaction of its own on the session of the current context. See
 * {@link DbContext.atomic}. With `@WithDbContext()` or `@NewDbContext()` on the same method it stands below
 * that one.
 *
 * @throws {@link DecoratorNotManagedError} on a call: the class is not a provider of Nest
 * @throws {@link InvalidOptionsError} as the class is loaded: an option is not valid, or it stands above
 *   what opens the context
 * @example
 * ```ts
 * @Atomic({ current: 'savepoint' })
 * async tryTransfer(order: Order): Promise<void> {}
 * ```
 * @publicApi
 */
export function Atomic(options: AtomicOptions = {}): AsyncMethodDecorator {
  checkKeys(options, 'atomic', '@Atomic()');
  const { connection: _connection, ...settings } = options;
  checkAtomicSettings(settings, '@Atomic()');
  const inTransaction = around('Atomic', (dbContext, { method }) =>
    dbContext.atomic(method, options),
  );
  return (target, key, descriptor) => {
    const opens = jobDecoratorOf(descriptor.value!);
    if (opens !== undefined) {
      throw new InvalidOptionsError(
        `@Atomic() stands above @${opens}() on ${target.constructor.name}.${String(key)}, so that its ` +
          `transaction would begin before the context is open. Write @${opens}() above @Atomic().`,
      );
    }
    inTransaction(target, key, descriptor);
  };
}
