/** What a plugin of Apollo Server listens with while an operation is executed. */
interface ExecutionListener {
  readonly executionDidEnd?: (error?: Error) => Promise<void> | void;
}

/** What a plugin of Apollo Server listens with to one request. */
interface RequestListener {
  readonly executionDidStart?: (request: object) => Promise<ExecutionListener | undefined>;
  readonly didEncounterErrors?: (request: object) => Promise<void>;
}

interface ApolloPlugin {
  readonly requestDidStart?: (request: object) => Promise<RequestListener | undefined>;
}

/** The members of Apollo Server that hold its plugins; a spec fails when they move. */
export interface ServerWithPlugins {
  readonly internals?: { readonly plugins?: ApolloPlugin[] };
}

/** What the other plugins do in one request. */
interface Others {
  readonly listeners: RequestListener[];
  readonly ends: Promise<void>[];
}

/**
 * The other plugins of the servers. Apollo Server calls all plugins at the same time, and fails the request
 * where one throws as the execution ends: an operation must not be committed while they may still do so (S1).
 */
export class OtherPlugins {
  readonly #others = new WeakMap<object, Others>();

  /** Listens with the plugins of a server, before it serves the first request. */
  watch({ internals }: ServerWithPlugins, own: object): void {
    const { plugins = [] } = internals ?? {};
    for (const [index, plugin] of plugins.entries()) {
      const { requestDidStart } = plugin;
      if (plugin !== own && requestDidStart !== undefined) {
        plugins[index] = withMember(plugin, 'requestDidStart', async (request) => {
          const listener = await requestDidStart.call(plugin, request);
          return listener && this.#watched(listener, this.#of(request));
        });
      }
    }
  }

  /**
   * Waits for what the others do as the execution of an operation ends.
   *
   * @throws what one of them has thrown, and the request is answered with
   */
  async haveEnded(request: object): Promise<void> {
    // Those that come after the caller are called before this goes on.
    await Promise.resolve();
    await Promise.all(this.#of(request).ends);
  }

  /** Shows the others an error that none of them knows yet. */
  async didEncounterErrors(request: object): Promise<void> {
    await Promise.all(
      this.#of(request).listeners.map(async (listener) => listener.didEncounterErrors?.(request)),
    );
  }

  #of(request: object): Others {
    const others = this.#others.get(request) ?? { listeners: [], ends: [] };
    this.#others.set(request, others);
    return others;
  }

  #watched(listener: RequestListener, { listeners, ends }: Others): RequestListener {
    listeners.push(listener);
    const { executionDidStart } = listener;
    return executionDidStart === undefined
      ? listener
      : withMember(listener, 'executionDidStart', async (request) => {
          const execution = await executionDidStart.call(listener, request);
          const { executionDidEnd } = execution ?? {};
          if (execution === undefined || execution === null || executionDidEnd === undefined) {
            return execution;
          }
          return withMember(execution, 'executionDidEnd', (error) => {
            const end = (async () => executionDidEnd.call(execution, error))();
            ends.push(end);
            return end;
          });
        });
  }
}

/** An object with another member; all others are those of `own`, which may be shared, or frozen. */
function withMember<T extends object, K extends keyof T>(own: T, name: K, member: T[K]): T {
  return new Proxy({} as T, {
    get: (_, key) => {
      const value: unknown = key === name ? member : Reflect.get(own, key, own);
      return typeof value === 'function' ? (value.bind(own) as unknown) : value;
    },
    has: (_, key) => key in own,
  });
}
