import { EventType, wrap, type EntityManager, type EventSubscriber } from '@mikro-orm/core';

/** What MikroORM passes to any of its subscribers. */
interface AnyEventArgs {
  readonly em: EntityManager;
  readonly entity?: object;
  readonly uow?: unknown;
  readonly transaction?: unknown;
  readonly meta?: { readonly className: string };
  readonly changeSet?: { readonly type: string; readonly payload: object; readonly name?: string };
}

/** One event and its arguments, in comparable form. */
export interface RecordedEvent {
  readonly event: string;
  readonly [argument: string]: unknown;
}

/** A subscriber of every event there is. */
export class EventRecorder {
  readonly events: RecordedEvent[] = [];
  /** Whose events they should be. */
  em: EntityManager | undefined;
  /** Called with each event, and may fail it. */
  onEvent: ((event: string, em: EntityManager) => void | Promise<void>) | undefined;

  readonly subscriber: EventSubscriber = Object.fromEntries(
    Object.values(EventType).map((event) => [
      event,
      (args: AnyEventArgs): void | Promise<void> => {
        this.events.push(this.#describe(event, args));
        return this.onEvent?.(event, args.em);
      },
    ]),
  );

  /** Starts over. */
  reset(em?: EntityManager): void {
    this.events.length = 0;
    this.em = em;
    this.onEvent = undefined;
  }

  comparable(which: 'entities' | 'all' | 'ignored' = 'entities'): RecordedEvent[] {
    if (which === 'ignored') {
      return [];
    }
    return this.events.filter(({ event }) => which === 'all' || !event.includes('Transaction'));
  }

  #describe(event: string, args: AnyEventArgs): RecordedEvent {
    const { em, entity, meta, changeSet } = args;
    return {
      event,
      arguments: Object.keys(args).toSorted(),
      // The manager of a plain transaction is not known before it has begun.
      isOwn: this.em === undefined || em === this.em,
      // A subscriber may read either, so both have to show the same unit of work.
      uowIsOfEm: args.uow === undefined || args.uow === em.getUnitOfWork(false),
      hasTransaction: args.transaction !== undefined,
      ...(entity !== undefined && { entity: entity.constructor.name, ...describeKey(entity) }),
      ...(meta !== undefined && { meta: meta.className }),
      ...(changeSet !== undefined && {
        changeSet: { type: changeSet.type, payload: JSON.stringify(changeSet.payload) },
      }),
    };
  }
}

function describeKey(entity: object): { key?: unknown } {
  return '__helper' in entity ? { key: wrap(entity, true).getSerializedPrimaryKey() } : {};
}
