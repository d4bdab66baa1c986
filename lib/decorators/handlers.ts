import { InvalidOptionsError } from '../errors.js';

/** The methods that a class of handlers has by its interface: of queues, of CQRS, and of commands. */
const HANDLER_NAMES: ReadonlySet<string | symbol> = new Set([
  'process',
  'handle',
  'execute',
  'run',
]);

/** Marks a method that opens its context by itself. */
const OPENS_CONTEXT = Symbol.for('nestjs-db-context:opens-context');

/** Marks a method that the decorators of routes hold for, since it opens a context for itself. */
const IS_JOB = Symbol.for('nestjs-db-context:job');

/** A decorator that makes a method a job. */
export type JobDecorator = 'WithDbContext' | 'NewDbContext';

/** A method of a class. */
export interface Handler {
  readonly key: string | symbol;
  readonly descriptor: PropertyDescriptor;
}

/** Keeps a method out of {@link handlersOf}: it opens its context by itself. */
export function markOpensContext(method: object): void {
  Object.defineProperty(method, OPENS_CONTEXT, { value: true, configurable: true });
}

/** Makes a method one that the decorators of routes hold for. */
export function markJob(method: object, decorator: JobDecorator): void {
  Object.defineProperty(method, IS_JOB, { value: decorator, configurable: true });
}

/** The decorator that makes a method a job, if one does. */
export function jobDecoratorOf(method: object): JobDecorator | undefined {
  return (method as { readonly [IS_JOB]?: JobDecorator })[IS_JOB];
}

/**
 * The handlers of a class, inherited ones included: methods with the name that the interface of such a
 * class demands (`process`, `handle`, `execute`, `run`), and those that a decorator has marked for
 * another library (`@Cron()`, `@OnWorkerEvent()`), which such decorators do with metadata of the method.
 *
 * @throws {@link InvalidOptionsError} there is none
 */
export function handlersOf(owner: abstract new (...args: never) => unknown): readonly Handler[] {
  const methods = methodsOf(owner.prototype as object);
  const handlers = methods.filter(({ key, descriptor }) => isHandler(key, descriptor.value));
  if (handlers.length === 0) {
    throw new InvalidOptionsError(
      `@WithDbContext() on the class ${owner.name} finds no handler. It wraps methods that are called ` +
        'process, handle, execute or run, and those with a decorator such as @Cron(). Put it on the ' +
        'method itself.',
    );
  }
  return handlers.filter(({ descriptor }) => !Object.hasOwn(descriptor.value, OPENS_CONTEXT));
}

function methodsOf(prototype: object): readonly (Handler & { descriptor: { value: object } })[] {
  const found = new Map<string | symbol, Handler & { descriptor: { value: object } }>();
  let current: object | null = prototype;
  while (current !== null && current !== Object.prototype) {
    for (const key of Reflect.ownKeys(current)) {
      const descriptor = Object.getOwnPropertyDescriptor(current, key)!;
      if (key !== 'constructor' && typeof descriptor.value === 'function' && !found.has(key)) {
        found.set(key, { key, descriptor: descriptor as { value: object } });
      }
    }
    current = Object.getPrototypeOf(current) as object | null;
  }
  return [...found.values()];
}

function isHandler(key: string | symbol, method: object): boolean {
  return HANDLER_NAMES.has(key) || Reflect.getOwnMetadataKeys(method).some(isOfAnotherLibrary);
}

function isOfAnotherLibrary(key: string | symbol): boolean {
  const name = typeof key === 'symbol' ? key.description : key;
  return name?.startsWith('nestjs-db-context:') !== true;
}
