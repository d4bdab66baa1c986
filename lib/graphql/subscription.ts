import type { GraphQLResolveInfo } from 'graphql';

import type { EndCause } from '../errors.js';
import type { OperationError } from '../options/context-options.js';
import { endedError, errorOf, settledAnswer, shownAnswer, type Answer } from './answer.js';
import { copyOfContext } from './context-value.js';
import { EventSource } from './event-source.js';
import { closeSource, isAsyncIterable, OutsideSource } from './outside-source.js';
import type { GraphQLOperation } from './operation.js';
import type { OperationSettings } from './operation-settings.js';
import type { Exchange } from './exchange.js';
import type { GraphQLOperations } from './operations.js';
import { shapeOfField, type OperationShape } from './root-fields.js';
import { SubscriptionEvent } from './subscription-event.js';

const LEFT: EndCause = {
  code: 'SUBSCRIPTION_ENDED',
  what: 'the subscription of its event has ended',
};

/**
 * One subscription of a client. Its resolver, which makes the source of the events, has a context that is
 * settled before the first event is waited for; each event has one that is settled before it is sent (W1);
 * in between there is none.
 */
export class Subscription {
  readonly #operations: GraphQLOperations;
  #shape: OperationShape | undefined;
  #settings: OperationSettings | undefined;
  #exchange: Exchange = {};
  #contextValue: unknown;
  /** The resolver that makes the source. */
  #start: GraphQLOperation | undefined;
  /** What the resolver has made, which a server may have put a filter around. */
  #source: OutsideSource | undefined;
  /** The event that has been taken from the source, and is not sent yet. */
  #event: SubscriptionEvent | undefined;
  /** Whether it was refused, or its client has left. */
  #isOver = false;

  constructor(operations: GraphQLOperations) {
    this.#operations = operations;
  }

  /**
   * Runs the resolver of the root field.
   *
   * @returns the source of its events
   */
  async begin(
    contextValue: object,
    info: GraphQLResolveInfo,
    subscribe: () => unknown,
  ): Promise<unknown> {
    const shape = shapeOfField(info);
    const settings = this.#operations.settingsOf(shape);
    if (settings.isSkipped) {
      return subscribe();
    }
    this.#shape = shape;
    this.#settings = settings;
    this.#contextValue = contextValue;
    this.#exchange = this.#operations.exchangeOf(contextValue);
    try {
      this.#start = this.#operations.open(contextValue, shape, settings, this.#exchange);
    } catch (error) {
      throw errorOf(error);
    }
    const source = await this.starting(subscribe);
    // A source that runs the resolver when it is first asked, as `withFilter` of Mercurius makes it, is
    // still at its beginning.
    if (this.#start !== undefined && !this.#operations.isResolvedByNest(shape)) {
      await this.started(source);
    }
    return isAsyncIterable(source) ? new EventSource(this, source[Symbol.asyncIterator]()) : source;
  }

  /** Whether the resolver of the root field has not made the source yet. */
  get isStarting(): boolean {
    return this.#start !== undefined;
  }

  /** Runs a part of what leads to the source. */
  async starting<T>(work: () => T): Promise<Awaited<T>> {
    const start = this.#start;
    if (start === undefined) {
      return await work();
    }
    try {
      return await start.whileOpen(start.run(async () => await work()));
    } catch (error) {
      this.#start = undefined;
      this.#isOver = true;
      await this.#operations.conclude(start, [asOperationError(error)]);
      throw error;
    }
  }

  /**
   * Settles the context of the resolver, which has made the source.
   *
   * @returns the source, which runs outside of it
   * @throws why it could not be committed
   */
  async started(source: unknown): Promise<unknown> {
    const start = this.#start;
    this.#start = undefined;
    const end = start && (await this.#operations.conclude(start, []));
    if (this.#isOver || end?.kind === 'failed') {
      this.#isOver = true;
      await closeSource(source);
      throw end?.kind === 'failed' ? errorOf(end.error) : endedError();
    }
    if (!isAsyncIterable(source)) {
      return source;
    }
    this.#source = new OutsideSource(this.#operations, source[Symbol.asyncIterator]());
    return this.#source;
  }

  /**
   * Runs the filter of the subscription in the context of the event that it decides on.
   *
   * @param filter gets the context object of the event
   */
  async filter(payload: unknown, filter: (contextValue: unknown) => unknown): Promise<unknown> {
    if (this.#isOver) {
      return false;
    }
    const event = this.#beginEvent(payload);
    const { operation } = event;
    if (operation === undefined) {
      // The answer to the event says why.
      return true;
    }
    let passes: unknown;
    try {
      passes = await operation.whileOpen(
        operation.run(async () => await filter(event.contextValue)),
      );
    } catch (error) {
      this.#event = undefined;
      await this.#operations.conclude(operation, [asOperationError(error)]);
      this.#operations.filterFailed(operation, error);
      throw error;
    }
    if (!passes) {
      this.#event = undefined;
      await this.#operations.conclude(operation, []);
    }
    return passes;
  }

  /** What is executed in place of a payload that the source has given. */
  eventFor(payload: unknown): unknown {
    return this.#shape === undefined ? payload : (this.#event ?? this.#beginEvent(payload));
  }

  /**
   * Settles the event that has been executed, before its answer is sent.
   *
   * @returns the answer
   */
  async settle(answer: Answer): Promise<Answer> {
    const operation = this.#event?.operation;
    this.#event = undefined;
    const errors = (answer.errors ?? []) as readonly OperationError[];
    const end = operation && (await this.#operations.conclude(operation, errors));
    if (this.#shape !== undefined && this.#isOver) {
      return { ...answer, data: null, errors: [...errors, endedError()] };
    }
    return end === undefined
      ? shownAnswer(answer)
      : settledAnswer(answer, end, 'subscription', (error) => error);
  }

  /** Rolls an event back that nobody will send: its client has left, or has ended the subscription. */
  leave(): void {
    this.#isOver = true;
    const start = this.#start;
    this.#start = undefined;
    if (start !== undefined) {
      this.#operations.abandon(start, LEFT);
    }
    this.abandonEvent();
    // A generator around it, as `withFilter` of Mercurius is one, would not end before its next event.
    void closeSource(this.#source);
  }

  /** Rolls an event back that has been taken from the source, and not been sent. */
  abandonEvent(): void {
    const operation = this.#event?.operation;
    this.#event = undefined;
    if (operation !== undefined) {
      this.#operations.abandon(operation, LEFT);
    }
  }

  #beginEvent(payload: unknown): SubscriptionEvent {
    const contextValue = copyOfContext(this.#contextValue);
    let operation: GraphQLOperation | undefined;
    let refusal: unknown;
    try {
      operation = this.#operations.open(contextValue, this.#shape!, this.#settings!, {
        ...this.#exchange,
        isEvent: true,
      });
    } catch (error) {
      refusal = errorOf(error);
    }
    const event = new SubscriptionEvent(payload, contextValue, operation, refusal);
    this.#event = event;
    if (this.#isOver) {
      this.abandonEvent();
    }
    return event;
  }
}

function asOperationError(error: unknown): OperationError {
  const originalError = error instanceof Error ? error : null;
  return { message: originalError?.message ?? String(error), originalError };
}
