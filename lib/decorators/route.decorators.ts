import { inspect } from 'node:util';

import { SetMetadata, type CustomDecorator } from '@nestjs/common';

import { InvalidOptionsError } from '../errors.js';
import { checkRetryOptions } from '../options/check-retry-options.js';
import type { CommitPolicy, FlushTime } from '../options/context-options.js';
import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import { checkKeys } from '../options/option-keys.js';
import { checkFlushTime } from '../options/flush-time.js';
import type { RetryOptions } from '../options/retry-options.js';
import {
  checkTransactionSettings,
  type TransactionSettings,
} from '../postgresql/transaction-settings.js';

/** Metadata key of {@link SkipDbContext}. */
export const SKIP_METADATA = 'nestjs-db-context:skip';
/** Metadata key of {@link CommitOn}. */
export const COMMIT_ON_METADATA = 'nestjs-db-context:commit-on';
/** Metadata key of {@link FlushOn}. */
export const FLUSH_ON_METADATA = 'nestjs-db-context:flush-on';
/** Metadata key of {@link DbTransaction}. */
export const TRANSACTION_METADATA = 'nestjs-db-context:transaction';
/** Metadata key of {@link RetryOnSerializationFailure}. */
export const RETRY_METADATA = 'nestjs-db-context:retry';

/** Options of {@link DbTransaction}. */
export interface DbTransactionOptions extends TransactionSettings {
  /**
   * Name of the connection.
   * @defaultValue 'default'
   */
  readonly connection?: string;
}

/** The settings of a connection on a route. */
export interface RouteTransaction {
  readonly connection: string;
  readonly settings: TransactionSettings;
}

/**
 * Opens no context for a route, or for all routes of a controller.
 *
 * @publicApi
 */
export function SkipDbContext(): CustomDecorator {
  return SetMetadata(SKIP_METADATA, true);
}

/**
 * Decides what commits on one route, or on all routes of a controller, in place of the
 * application's `commitOn`. On a job (`@WithDbContext()`, `@NewDbContext()`) the policy gets no `status`.
 *
 * @throws {@link InvalidOptionsError} as the class is loaded: it is no function
 * @throws {@link InvalidOptionsError} while the application boots: it has no effect where it stands
 * @example
 * ```ts
 * // a failed log-in must leave its trace
 * @CommitOn(({ failed, status }) => !failed || status === 401)
 * @Post('login')
 * login() {}
 * ```
 * @publicApi
 */
export function CommitOn(policy: CommitPolicy): CustomDecorator {
  if (typeof policy !== 'function') {
    throw new InvalidOptionsError(
      `@CommitOn() was given ${inspect(policy)}. Give a function, such as ({ failed, status }) => ` +
        '!failed || status === 401.',
    );
  }
  return SetMetadata(COMMIT_ON_METADATA, policy);
}

/**
 * Says when the changes of a route, or of all routes of a controller, are written, in place of the
 * application's `flush`: `handler`, as soon as the handler has returned and before inner interceptors see
 * its value, or `commit`, after all of them.
 *
 * @throws {@link InvalidOptionsError} as the class is loaded: it is neither
 * @example
 * ```ts
 * // an inner interceptor changes the entities once more, and all of it is to be one statement
 * @FlushOn('commit')
 * @Post()
 * create() {}
 * ```
 * @publicApi
 */
export function FlushOn(time: FlushTime): CustomDecorator {
  checkFlushTime(time, '@FlushOn()');
  return SetMetadata(FLUSH_ON_METADATA, time);
}

/**
 * Sets how the transactions of a route, or of all routes of a controller, begin. Each setting wins
 * over that of the connection, and a setting of a method over that of its class. The decorator may be
 * given once per connection.
 *
 * On a job (`@WithDbContext()`, `@NewDbContext()`) it holds for the context of the job.
 *
 * @throws {@link InvalidOptionsError} as the class is loaded: a setting is not valid
 * @throws {@link InvalidOptionsError} while the application boots: it has no effect where it stands
 * @throws {@link UnknownConnectionError} while the application boots: no module declares the connection
 * @throws {@link InvalidTransactionStateError} on a request, with `mount: 'middleware'`: a guard has
 *   begun the transaction without these settings
 * @example
 * ```ts
 * @DbTransaction({ isolationLevel: 'repeatable read', readOnly: true })
 * @Get('report')
 * report() {}
 * ```
 * @publicApi
 */
export function DbTransaction(options: DbTransactionOptions): ClassDecorator & MethodDecorator {
  checkKeys(options, 'route', '@DbTransaction()');
  const { connection = DEFAULT_CONNECTION_NAME, ...settings } = options;
  checkTransactionSettings(settings, '@DbTransaction()');
  const own: RouteTransaction = { connection, settings };
  return (target: object, _key?: string | symbol, descriptor?: PropertyDescriptor): void => {
    const on = (descriptor?.value ?? target) as object;
    const others = Reflect.getOwnMetadata(TRANSACTION_METADATA, on) as
      | RouteTransaction[]
      | undefined;
    // Decorators are applied from the bottom up, and settings are to be in the order of the source.
    Reflect.defineMetadata(TRANSACTION_METADATA, [own, ...(others ?? [])], on);
  };
}

/**
 * Runs a route, or the routes of a controller, again when the request failed because of a concurrent
 * transaction: with SQLSTATE 40001 (serialization failure) or 40P01 (deadlock), in a statement or at
 * the COMMIT. A decorator on a method wins over that of its class.
 *
 * Each attempt has a new context, with its own sessions and hooks, and runs pipes, inner
 * interceptors and the handler; guards are not run again. The error of the last attempt is the
 * response. What an attempt did outside of its transaction is not undone: calls to other services,
 * headers and status set on the response, state of request-scoped providers, a body read as a stream.
 *
 * A request does not run again once something of it has taken effect: headers or a value were sent,
 * a part was committed early, a guard had used the context (`mount: 'middleware'`); nor when its
 * client has left, or where it joined a context.
 *
 * @param options `attempts`, 2 or more, the first one included; `backoffMs`, longest pause before the
 *   second attempt in milliseconds, 20 by default
 * @throws {@link InvalidOptionsError} as the class is loaded: an option is not valid
 * @throws {@link InvalidOptionsError} while the application boots: it has no effect where it stands
 * @example
 * ```ts
 * @RetryOnSerializationFailure({ attempts: 5 })
 * @DbTransaction({ isolationLevel: 'serializable' })
 * @Post('transfer')
 * transfer() {}
 * ```
 * @publicApi
 */
export function RetryOnSerializationFailure(options: RetryOptions): CustomDecorator {
  checkRetryOptions(options, '@RetryOnSerializationFailure()');
  return SetMetadata(RETRY_METADATA, { ...options });
}
