import type { EntityManager, RequestContext } from '@mikro-orm/core';

import type { DbConnection } from '../connection/db-connection.js';
import { ambientManager, setRequestAside } from '../session/ambient.js';
import { mayBeAnswered } from '../session/asking-manager.js';
import type { GlobalClaim } from '../session/global-manager.js';
import { ContextRequest, OwnRequestContext, runAsRequest } from '../session/request-context.js';
import type { SessionFactory } from '../session/session-factory.js';
import { sessionFork } from '../telemetry/channels.js';
import { ForkEvent } from '../telemetry/session-events.js';
import { ConnectionRegistry } from './connection-registry.js';
import { depthOf, runWithContext } from './context-storage.js';
import type { Context } from './context.js';
import { watchPast } from './watch-past.js';
import type { ContextWatch } from './watch.js';

/** What the lookup has to know of the contexts of an application. */
export interface ContextSource {
  /** The context that the current code runs in, which may have ended. */
  current(): Context | undefined;
  /** As `current()`; throws {@link DbContextNotActiveError} where there is none. */
  require(): Context;
  runOutside<T>(work: () => T): T;
  /** What looks for mistakes, where it is on. */
  watch(): ContextWatch | undefined;
}

/** Which entity manager the injected sessions stand for, and MikroORM's own objects (W2). */
export class SessionLookup {
  readonly connections: ConnectionRegistry;
  readonly #contexts: ContextSource;
  readonly #owner: object;
  readonly #requestContext: OwnRequestContext;
  /** What MikroORM's `RequestContext` has answered in a context; few applications ask. */
  readonly #requests = new WeakMap<Context, ContextRequest>();
  #stopListening: (() => void) | undefined;

  /** @param owner the application, as the storage of the contexts knows it */
  constructor(owner: object, contexts: ContextSource) {
    this.#owner = owner;
    this.#contexts = contexts;
    this.connections = new ConnectionRegistry(
      (factory) => this.#managerOf(factory, contexts.require()),
      (factory) => this.#claimOf(factory),
      (connection) => this.#watch(connection),
      () => this.#active(),
    );
    this.#requestContext = new OwnRequestContext({
      find: (contextName) => {
        const context = this.#contexts.current();
        return context && this.#named(contextName, context);
      },
      current: (outer) => this.#requestOf(outer),
    });
  }

  /** Runs the code of a context so that MikroORM's own `RequestContext` has its sessions. */
  runIn<T>(context: Context, callback: () => T): T {
    const run = (requestContext?: OwnRequestContext): T =>
      runWithContext(this.#owner, context, callback, requestContext);
    return this.connections.hasGlobals
      ? runAsRequest(this.#requestContext, context.ambient, run)
      : setRequestAside(run);
  }

  /**
   * The entity manager of MikroORM's own `TransactionContext`, or of its `RequestContext`, where the code has
   * entered one of the same database inside of its context (C6), else the session.
   */
  #managerOf({ connection: { name, orm } }: SessionFactory, context: Context): EntityManager {
    return ambientManager(orm.config, context) ?? context.session(name).manager;
  }

  #claimOf(factory: SessionFactory): GlobalClaim {
    const { connection } = factory;
    return {
      find: () => {
        const context = this.#contextFor(connection);
        return context && this.#managerOf(factory, context);
      },
      existing: () => {
        const context = this.#contextFor(connection);
        return (
          context &&
          (ambientManager(connection.orm.config, context) ??
            context.existing(connection.name)?.manager)
        );
      },
      isInside: () => this.#contexts.current() !== undefined,
      runOutside: (work) => this.#contexts.runOutside(work),
      forked: (fork) => {
        const context = sessionFork.hasSubscribers ? this.#active()?.telemetry : undefined;
        if (context !== undefined) {
          sessionFork.publish(new ForkEvent({ context, connection: connection.telemetry }, fork));
        }
      },
      depth: () => depthOf(this.#owner),
    };
  }

  /** @returns what ends the watch, if there is one */
  #watch(connection: DbConnection): (() => void) | undefined {
    const watch = this.#contexts.watch();
    if (watch === undefined) {
      return undefined;
    }
    this.#stopListening ??= watch.listen();
    const unwatch = watchPast(connection, watch, () => this.#active());
    return () => {
      unwatch();
      this.#stopListening?.();
      this.#stopListening = undefined;
    };
  }

  #active(): Context | undefined {
    const context = this.#contexts.current();
    return context?.isClosed === true ? undefined : context;
  }

  /** The context that MikroORM's own objects work in; `beforeSession` needs them outside of it. */
  #contextFor({ preparation }: DbConnection): Context | undefined {
    return preparation.isInHook ? undefined : this.#contexts.current();
  }

  #requestOf(outer: RequestContext | undefined): RequestContext | undefined {
    const context = this.#contexts.current();
    if (context === undefined) {
      return undefined;
    }
    const known = this.#requests.get(context);
    if (known !== undefined && known.outer === outer) {
      return known;
    }
    const made = new ContextRequest((contextName) => this.#named(contextName, context), outer);
    this.#requests.set(context, made);
    return made;
  }

  /** A manager that is one of this context alone: code keeps things by it, as loaders do. */
  #named(contextName: string, context: Context): EntityManager | undefined {
    const connection = this.connections.named(contextName);
    if (
      connection === undefined ||
      connection.preparation.isInHook ||
      !mayBeAnswered(connection.orm.config, contextName)
    ) {
      return undefined;
    }
    const factory = this.connections.factory(connection.name);
    return context.isClosed
      ? (context.latest(connection.name)?.manager ?? this.connections.handle(connection.name))
      : this.#managerOf(factory, context);
  }
}
