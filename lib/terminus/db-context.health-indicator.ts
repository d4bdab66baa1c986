import { Injectable } from '@nestjs/common';
import { HealthIndicatorService, type HealthIndicatorResult } from '@nestjs/terminus';

import type { CheckOptions, ConnectionHealth } from '../connection/connection-health.js';
import type { DbConnection } from '../connection/db-connection.js';
import { ContextRegistry } from '../context/context-registry.js';
import { UnknownConnectionError } from '../errors.js';
import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import { checkKeys } from '../options/option-keys.js';
import { exceededThresholds, type HealthThresholds } from './health-thresholds.js';

/**
 * How {@link DbContextHealthIndicator.pingCheck} asks, and which connection counts as down.
 *
 * @publicApi
 */
export interface DbContextPingCheckOptions extends CheckOptions, HealthThresholds {
  /**
   * Name of the connection.
   * @defaultValue 'default'
   */
  readonly connection?: string;
}

/**
 * What terminus shows of a connection beside its status.
 *
 * @publicApi
 */
export interface DbContextHealth extends ConnectionHealth {
  /** Why it is down. */
  readonly message?: string;
}

/**
 * Reports the health of a connection to `@nestjs/terminus`, see {@link DbConnection.check}. It is a
 * provider of the module with the health endpoint, which imports `TerminusModule`.
 *
 * @example
 * ```ts
 * @Module({
 *   imports: [TerminusModule],
 *   controllers: [HealthController],
 *   providers: [DbContextHealthIndicator],
 * })
 * export class HealthModule {}
 * ```
 * @publicApi
 */
@Injectable()
export class DbContextHealthIndicator {
  readonly #registry: ContextRegistry;
  readonly #indicators: HealthIndicatorService;

  /** @internal */
  constructor(registry: ContextRegistry, indicators: HealthIndicatorService) {
    this.#registry = registry;
    this.#indicators = indicators;
  }

  /**
   * Checks one connection. It is down when the server cannot be reached, or when a threshold of the
   * options is exceeded; the result has the details either way.
   *
   * @param key the key of the connection in the result
   * @throws {@link UnknownConnectionError} there is no connection of that name
   * @throws {@link InvalidOptionsError} `timeoutMs` is not a number of milliseconds
   *
   * @example
   * ```ts
   * health.check([() => indicator.pingCheck('database', { maxWaiting: 20 })]);
   * ```
   */
  async pingCheck<const Key extends string>(
    key: Key,
    options: DbContextPingCheckOptions = {},
  ): Promise<HealthIndicatorResult<Key, 'up' | 'down', DbContextHealth>> {
    checkKeys(options, 'health', `pingCheck('${key}')`);
    const indicator = this.#indicators.check(key);
    const { connection, timeoutMs } = options;
    const health = await this.#connection(connection).check(
      timeoutMs === undefined ? {} : { timeoutMs },
    );
    const exceeded = exceededThresholds(health, options);
    return exceeded.length === 0
      ? indicator.up({ ...health })
      : indicator.down({ ...health, message: exceeded.join('; ') });
  }

  #connection(name: string = DEFAULT_CONNECTION_NAME): DbConnection {
    const { all } = this.#registry.connections;
    const found = all.find((each) => each.name === name);
    if (found === undefined) {
      throw new UnknownConnectionError(
        name,
        all.map((each) => each.name),
        'DbContextHealthIndicator: ',
      );
    }
    return found;
  }
}
