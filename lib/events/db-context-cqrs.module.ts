import { Module, type OnModuleInit } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { EventBus, type IEventPublisher } from '@nestjs/cqrs';

import { ContextRegistry } from '../context/context-registry.js';
import { InvalidOptionsError } from '../errors.js';
import { CommittedEventPublisher } from './committed-event.publisher.js';

/**
 * Makes the `EventBus` of `@nestjs/cqrs` publish an event when what it tells of is committed:
 * published in a context, after its commit, and never when that or the savepoint around is rolled
 * back; published in none, at once. It wraps the publisher that the bus has, and any that it is
 * given later.
 *
 * Handlers and sagas then run in no context: one that uses a session carries `@WithDbContext()`.
 *
 * @throws {@link InvalidOptionsError} at boot: the application has no `EventBus`
 * @example
 * ```ts
 * @Module({
 *   imports: [DbContextModule.forRoot(options), CqrsModule.forRoot(), DbContextCqrsModule],
 * })
 * export class AppModule {}
 * ```
 * @publicApi
 */
@Module({})
export class DbContextCqrsModule implements OnModuleInit {
  readonly #host: ContextRegistry;
  readonly #moduleRef: ModuleRef;

  /** @internal */
  constructor(host: ContextRegistry, moduleRef: ModuleRef) {
    this.#host = host;
    this.#moduleRef = moduleRef;
  }

  /** @internal */
  onModuleInit(): void {
    for (const bus of this.#findBuses()) {
      holdBack(this.#host, bus);
    }
  }

  /** `CqrsModule` and `CqrsModule.forRoot()` side by side are two modules with a bus each. */
  #findBuses(): Set<EventBus> {
    try {
      return new Set(this.#moduleRef.get<EventBus>(EventBus, { strict: false, each: true }));
    } catch (error) {
      throw new InvalidOptionsError(
        'DbContextCqrsModule finds no EventBus. Import CqrsModule.forRoot() in the AppModule, too.',
        error,
      );
    }
  }
}

function holdBack(host: ContextRegistry, bus: EventBus): void {
  const committed = new CommittedEventPublisher(host, bus.publisher);
  bus.publisher = committed;
  // Modules set publishers of their own in any hook of the boot; set directly, one that comes after
  // this would announce what may be rolled back.
  Object.defineProperty(bus, 'publisher', {
    configurable: true,
    get: () => committed.target,
    set: (publisher: IEventPublisher) => {
      committed.target = publisher;
    },
  });
}
