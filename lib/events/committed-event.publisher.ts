import type { AsyncContext, IEvent, IEventPublisher } from '@nestjs/cqrs';

import type { ContextRegistry } from '../context/context-registry.js';
import { currentContext } from '../context/context-storage.js';
import { deferToCommit } from '../context/defer-to-commit.js';
import { within, type ErrorPlace } from '../errors.js';

/** Holds events back until the context that they were published in has committed. */
export class CommittedEventPublisher implements IEventPublisher {
  readonly #registry: ContextRegistry;
  /** The publisher that gets the events after the commit. */
  target: IEventPublisher;

  constructor(registry: ContextRegistry, target: IEventPublisher) {
    this.#registry = registry;
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
   * Publishes outside of any context: the bus does not wait for handlers, so a context of the hook would
   * be settled while they still used it.
   *
   * @returns whether there is a commit to wait for; if not, nothing was published
   */
  #defer(publications: readonly (() => unknown)[]): boolean {
    const place = { origin: currentContext(this.#registry)?.origin };
    return deferToCommit(this.#registry, () =>
      this.#registry.runOutside(() =>
        Promise.all(publications.map((each) => this.#attempt(each, place))),
      ),
    );
  }

  /** Reports what fails rather than throwing it: the publications that follow must not be lost. */
  async #attempt(publish: () => unknown, place: Partial<ErrorPlace>): Promise<void> {
    try {
      await publish();
    } catch (error) {
      this.#registry.report(`an event${within(place)} could not be published`, error);
    }
  }
}
