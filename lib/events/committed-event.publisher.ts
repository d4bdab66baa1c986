import type { AsyncContext, IEvent, IEventPublisher } from '@nestjs/cqrs';

import type { ContextRegistry } from '../context/context-registry.js';
import { deferToCommit } from './defer-to-commit.js';

/** Holds events back until the context that they were published in has committed. */
export class CommittedEventPublisher implements IEventPublisher {
  readonly #host: ContextRegistry;
  /** Where committed events go. */
  target: IEventPublisher;

  constructor(host: ContextRegistry, target: IEventPublisher) {
    this.#host = host;
    this.target = target;
  }

  publish(event: IEvent, dispatcherContext?: unknown, asyncContext?: AsyncContext): unknown {
    const publish = (): unknown => this.target.publish(event, dispatcherContext, asyncContext);
    return this.#defer([publish]) ? undefined : publish();
  }

  publishAll(events: IEvent[], dispatcherContext?: unknown, asyncContext?: AsyncContext): unknown {
    const { target } = this;
    if (target.publishAll === undefined) {
      const publications = events.map(
        (event) => (): unknown => target.publish(event, dispatcherContext, asyncContext),
      );
      return this.#defer(publications) ? undefined : publications.map((publish) => publish());
    }
    // An aggregate root empties its own list as soon as this returns.
    const batch = [...events];
    const publish = (): unknown => target.publishAll?.(batch, dispatcherContext, asyncContext);
    return this.#defer([publish]) ? undefined : publish();
  }

  /**
   * Outside of any context: the bus does not wait for handlers, and the one that a hook runs in is
   * settled before theirs would be done with it.
   */
  #defer(publications: readonly (() => unknown)[]): boolean {
    return deferToCommit(this.#host, () =>
      this.#host.runOutside(() => Promise.all(publications.map((each) => this.#attempt(each)))),
    );
  }

  /** One that fails must not keep the next one back: no caller is left who could publish it. */
  async #attempt(publish: () => unknown): Promise<void> {
    try {
      await publish();
    } catch (error) {
      this.#host.report('an event could not be published', error);
    }
  }
}
