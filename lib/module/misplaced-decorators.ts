import { inspect } from 'node:util';

import { AFTER_COMMIT_METADATA } from '../decorators/after-commit.decorator.js';
import { jobDecoratorOf } from '../decorators/handlers.js';
import { GATEWAY_METADATA } from '../decorators/listeners.js';
import {
  COMMIT_ON_METADATA,
  FLUSH_ON_METADATA,
  RETRY_METADATA,
  SKIP_METADATA,
  TRANSACTION_METADATA,
  type RouteTransaction,
} from '../decorators/route.decorators.js';
import { InvalidOptionsError } from '../errors.js';
import type { DeclaredClass, DeclaredMethod } from './declared-classes.js';

/** A decorator of routes. */
interface RouteDecorator {
  readonly name: string;
  readonly key: string;
  /** Whether it holds for jobs, the methods with `@WithDbContext()` or `@NewDbContext()`. */
  readonly isForJobs: boolean;
  /** What does the same in a method that is neither a route nor a job. */
  readonly elsewhere?: (value: unknown) => string;
}

const DECORATORS: readonly RouteDecorator[] = [
  {
    name: '@DbTransaction()',
    key: TRANSACTION_METADATA,
    isForJobs: true,
    elsewhere: (value) => `@Atomic(${optionsOf(value as readonly RouteTransaction[])})`,
  },
  {
    name: '@RetryOnSerializationFailure()',
    key: RETRY_METADATA,
    isForJobs: true,
    elsewhere: (value) => `@Atomic(${inspect({ retry: value })})`,
  },
  {
    name: '@CommitOn()',
    key: COMMIT_ON_METADATA,
    isForJobs: true,
    elsewhere: () => '@Atomic({ commitOnError })',
  },
  { name: '@FlushOn()', key: FLUSH_ON_METADATA, isForJobs: false },
  { name: '@SkipDbContext()', key: SKIP_METADATA, isForJobs: false },
  { name: '@UseAfterCommit()', key: AFTER_COMMIT_METADATA, isForJobs: false },
];

// Nest's own metadata keys; `test/e2e/misplaced-decorators.spec.ts` fails when an upgrade changes them.
const CONTROLLER_METADATA = '__controller__';

/**
 * Metadata by which no transport can be recognised: of this library and of the compiler, of what Nest keeps
 * of any provider, and of the libraries that call methods by themselves, past all interceptors.
 */
const OF_NO_TRANSPORT = new RegExp(
  [
    '^(nestjs-db-context|design|self|optional|scope):',
    '^__(injectable|guards|interceptors|pipes|exceptionFilters)__$',
    // @nestjs/schedule, event-emitter, bullmq and cqrs
    '^SCHEDULER?_|^EVENT_LISTENER_METADATA$|^bullmq:',
    '^__(commandHandler|queryHandler|eventsHandler|saga)__$',
  ].join('|'),
);

/**
 * Refuses a decorator of routes on what is neither called by a transport nor opens a context by itself.
 *
 * Transports are known by their metadata. Those of Nest put it on the methods; a class or a method with
 * metadata that is unknown here may belong to another one, and is left alone.
 *
 * @throws {@link InvalidOptionsError}
 */
export function assertDecoratorsHaveEffect({ type, methods }: DeclaredClass): void {
  const isCalledByClass = !hasHandlersByMethod(type) && hasTransport(type);
  const served = methods.filter(({ method }) => isCalledByClass || hasTransport(method));
  const jobs = methods.filter(({ method }) => jobDecoratorOf(method) !== undefined);
  for (const decorator of DECORATORS) {
    const having: readonly DeclaredMethod[] = decorator.isForJobs ? [...served, ...jobs] : served;
    if (!isCalledByClass && having.length === 0) {
      refuse(decorator, { place: type.name, on: type, called: 'a method of the class' });
    }
    for (const { name, method } of methods) {
      if (!having.some((each) => each.method === method)) {
        refuse(decorator, { place: `${type.name}.${name}`, on: method, called: 'the method' });
      }
    }
  }
}

/** Whether each handler of a class has metadata of its own. */
function hasHandlersByMethod(type: object): boolean {
  return (
    Reflect.hasMetadata(CONTROLLER_METADATA, type) || Reflect.hasMetadata(GATEWAY_METADATA, type)
  );
}

function hasTransport(target: object): boolean {
  const keys = Reflect.getMetadataKeys(target) as readonly (string | symbol)[];
  return keys.some((key) => !OF_NO_TRANSPORT.test(typeof key === 'symbol' ? keyOf(key) : key));
}

function keyOf(symbol: symbol): string {
  return symbol.description ?? '';
}

/** A class or a method that a decorator may stand on. */
interface Target {
  readonly place: string;
  readonly on: object;
  /** What a transport would have to call. */
  readonly called: string;
}

/** Does nothing where the target has no such decorator. */
function refuse(
  { name, key, isForJobs, elsewhere }: RouteDecorator,
  { place, on, called }: Target,
): void {
  const value: unknown = Reflect.getMetadata(key, on);
  if (value === undefined) {
    return;
  }
  const job = jobDecoratorOf(on);
  const why =
    job === undefined
      ? 'so that no context is opened for it'
      : `and the context of @${job}() does not know it`;
  const where = isForJobs
    ? 'Put it on the route or the job (a method with @WithDbContext() or @NewDbContext())'
    : 'Put it on the route, or leave it out';
  const instead = elsewhere === undefined ? '' : `, or use ${elsewhere(value)} here`;
  throw new InvalidOptionsError(
    `${name} on ${place} has no effect: no transport calls ${called}, ${why}. ${where}${instead}.`,
  );
}

/** The options that `@Atomic()` has to have instead. */
function optionsOf(transactions: readonly RouteTransaction[]): string {
  const [{ connection, settings }] = transactions as [RouteTransaction];
  return inspect({ ...(connection !== 'default' && { connection }), ...settings });
}
