import { Inject, Module, Optional, type OnModuleInit } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { EventBus, type IEventPublisher } from '@nestjs/cqrs';

import { ContextRegistry } from '../context/context-registry.js';
import { InvalidOptionsError } from '../errors.js';
import { assertRoot } from '../context/assert-root.js';
import { CommittedEventPublisher } from './committed-event.publisher.js';

/**
 * Makes the `EventBus` of `@nestjs/cqrs` publish an event only when the work that it announces is
 * committed. An event that is published in a context leaves after the commit of the context, and is
 * dropped when the context or the savepoint around it is rolled back; one that is published in no context
 * leaves at once. The module wraps the publisher that the bus has, and any that is set later.
 *
 * Handlers and sagas then run in no context; those that use a session carry `@WithDbContext()`.
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
  readonly #registry: ContextRegistry;
  readonly #moduleRef: ModuleRef;

  /** @internal */
  constructor(
    @Optional() @Inject(ContextRegistry) registry: ContextRegistry | undefined,
    @Inject(ModuleRef) moduleRef: ModuleRef,
  ) {
    assertRoot(registry, 'DbContextCqrsModule');
    this.#registry = registry;
    this.#moduleRef = moduleRef;
  }

  /** Nest calls it: from here on the buses hold back what handlers publish. */
  onModuleInit(): void {
    for (const bus of this.#findBuses()) {
      holdBack(this.#registry, bus);
    }
  }

  /** There may be several: `CqrsModule` and `CqrsModule.forRoot()` are two modules with a bus each. */
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

function holdBack(registry: ContextRegistry, bus: EventBus): void {
  const committed = new CommittedEventPublisher(registry, bus.publisher);
  bus.publisher = committed;
  // Other modules may set a publisher of their own after this one, and it would announce what may be
  // rolled back. With the accessor, such a publisher only becomes the target of ours.
  Object.defineProperty(bus, 'publisher', {
    configurable: true,
    get: () => committed.target,
    set: (publisher: IEventPublisher) => {
      committed.target = publisher;
    },
  });
}
