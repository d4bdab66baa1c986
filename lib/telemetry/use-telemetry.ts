import type { EventOrigin } from './operation-events.js';
import type { ConnectionInfo, ConnectionUse, ContextInfo } from './payloads.js';

/** What the use of a connection outside of the transaction of a session is part of, as events show it. */
export class UseTelemetry implements EventOrigin, ConnectionUse {
  readonly kind: ConnectionUse['kind'];
  readonly connection: ConnectionInfo;
  readonly context: ContextInfo | undefined;
  readonly transaction = undefined;
  #processId: number | undefined;

  constructor(
    { kind }: Pick<ConnectionUse, 'kind'>,
    { connection, context }: Pick<EventOrigin, 'connection' | 'context'>,
  ) {
    this.kind = kind;
    this.connection = connection;
    this.context = context;
  }

  get use(): this {
    return this;
  }

  /** See {@link ConnectionUse.processId}; kept after the release. */
  get processId(): number | undefined {
    return this.#processId;
  }

  /** It has got a connection. */
  servedBy({ processID }: { readonly processID: number | null }): void {
    this.#processId = processID ?? undefined;
  }
}
