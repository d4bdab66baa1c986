import { context, type Context } from '@opentelemetry/api';

import type { EventStore } from '../telemetry/index.js';

/** OpenTelemetry's active context as a store of a channel, by its own API, whatever manages its contexts. */
export class ActiveContext implements EventStore<Context> {
  run<R>(value: Context, callback: () => R): R {
    return context.with(value, callback);
  }

  /**
   * From Node 25.9 on, channels enter their stores by this instead of `run()`. It needs version 1.10 of the
   * API and a context manager that has `attach()`; without them, statements leave in the context of the
   * request.
   */
  withScope(value: Context): Disposable {
    const api = context as { attach?: (value: Context) => { dispose(): void } };
    const token = api.attach?.(value);
    return { [Symbol.dispose]: () => token?.dispose() };
  }
}
