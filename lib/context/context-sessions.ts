import type { EntityManager, RequestContext } from '@mikro-orm/core';

import { placeOf, type Holder, type SelfWait } from '../connection/claim.js';
import type { WrittenLsns } from '../connection/written-lsns.js';
import {
  InvalidTransactionStateError,
  SessionClosedError,
  type EndCause,
  type ErrorPlace,
} from '../errors.js';
import { DEFAULT_CONNECTION_NAME } from '../options/defaults.js';
import { ambientManager, type Surroundings } from '../session/ambient.js';
import { mergeSettings, type TransactionSettings } from '../postgresql/transaction-settings.js';
import type { OwnedWork } from '../session/owned-work.js';
import { enteredRequestContext } from '../session/request-context.js';
import type { SessionFactory } from '../session/session-factory.js';
import { unsavedEntities } from '../session/changes.js';
import { isForkOf } from '../session/session-marks.js';
import type { SessionObserver, SessionOptions, SessionOwner } from '../session/session-observer.js';
import type { Session } from '../session/session.js';
import { sessionRefuse } from '../telemetry/channels.js';
import type { ConnectionInfo } from '../telemetry/payloads.js';
import { ContextTelemetry, publishRefused } from './context-telemetry.js';
import type { HandlerEnd } from './handler-end.js';
import type { HookEnvironment } from './hook-calls.js';
import { obstacleOf, type Obstacle } from './obstacle.js';
import type { UnawaitedRefusals } from './unawaited-refusals.js';
import type { ContextWatch } from './watch.js';

/** What the contexts of an application share. */
export interface ContextDependencies {
  /** Finds the factory of a connection; throws {@link UnknownConnectionError}. */
  readonly factory: (name: string) => SessionFactory;
  /** Names of all connections of the application. */
  readonly connectionNames: () => readonly string[];
  readonly environment: HookEnvironment;
  readonly watch: ContextWatch | undefined;
  /** What events call the connections of the application. */
  readonly connections: () => readonly ConnectionInfo[];
  /** What events call the application. */
  readonly application: object;
  readonly unawaited: UnawaitedRefusals;
}

/** What the sessions of a context know of its opening. */
export interface OpeningOptions {
  readonly dependencies: ContextDependencies;
  /** What opens it, for messages: `OrdersController.create`, `dbContext.run()`. */
  readonly origin: string;
  /** Whether it only stands for a session in no context: no code ever runs in it. */
  readonly isDetached: boolean;
  /** The manager of MikroORM's `TransactionContext` that it is opened in; it is none of its own. */
  readonly ambient: EntityManager | undefined;
  /** What its reads must see, where that is kept; shared with the context that it is opened in. */
  readonly writtenLsns: WrittenLsns | undefined;
  /** Its own limit in milliseconds, in place of `contextTimeoutMs` and `transactionTimeoutMs`. */
  readonly timeoutMs: number | undefined;
}

/** Changed entities of a session that has ended. */
export interface UnsavedChanges {
  readonly connectionName: string;
  readonly entityNames: readonly string[];
}

const ELSEWHERE =
  'was called inside of the transaction of another session: of em.fork().transactional(), of ' +
  'transactional() on the session of newSession(), or of @CreateRequestContext()';
const NO_SETTINGS: ReadonlyMap<string, TransactionSettings> = new Map();

const isClosed = (session: Session): boolean => session.isClosed;
const isOpen = (session: Session): boolean => !session.isClosed;

/** The sessions of one unit of work: at most one for each connection (M1), and what is owned beside them. */
export abstract class ContextSessions implements Holder, SessionOwner, Surroundings {
  protected readonly dependencies: ContextDependencies;
  /** See {@link OpeningOptions.isDetached}. */
  readonly isDetached: boolean;
  /** See {@link OpeningOptions.origin}. */
  origin: string;
  /** Set by a transport that is to see what its handlers return before anything else does. */
  handlerEnd: HandlerEnd | undefined;
  /** See {@link OpeningOptions.ambient}. */
  readonly ambient: EntityManager | undefined;
  #ambientRequest = enteredRequestContext();
  #isBeforeHandler = false;
  #telemetry: ContextTelemetry | undefined;
  /** See {@link Holder.writtenLsns}. */
  readonly writtenLsns: WrittenLsns | undefined;
  /** See {@link OpeningOptions.timeoutMs}. */
  readonly timeoutMs: number | undefined;
  /** See {@link Holder.endCause}. */
  endCause: EndCause | undefined;
  /** In the order of their first use; a closed one stays until another one takes its place. */
  #sessions: readonly Session[] = [];
  #settings = NO_SETTINGS;
  #obstacle: Obstacle | undefined;
  /** Work beside the transactions of the sessions, which ends with them. */
  #owned: readonly OwnedWork[] = [];

  constructor(options: OpeningOptions) {
    this.dependencies = options.dependencies;
    this.origin = options.origin;
    this.isDetached = options.isDetached;
    this.ambient = options.ambient;
    this.writtenLsns = options.writtenLsns;
    this.timeoutMs = options.timeoutMs;
  }

  /** See {@link Surroundings.ambientRequest}. */
  get ambientRequest(): RequestContext | undefined {
    return this.#ambientRequest;
  }

  /** See {@link Surroundings.isBeforeHandler}. */
  get isBeforeHandler(): boolean {
    return this.#isBeforeHandler;
  }

  /** A transport has opened the context ahead of its handler, around middlewares that are yet to come. */
  awaitHandler(): void {
    this.#isBeforeHandler = true;
  }

  /** What comes now is the handler, in whatever the middlewares have opened. */
  enterHandler(): void {
    this.#isBeforeHandler = false;
    this.#ambientRequest = enteredRequestContext();
  }

  /** Where errors of a connection happen. */
  placeOf(connectionName: string): ErrorPlace {
    return placeOf(connectionName, this);
  }

  /** See {@link Holder.telemetry}. */
  get telemetry(): ContextTelemetry {
    return (this.#telemetry ??= new ContextTelemetry(this, this.dependencies.application));
  }

  /** See {@link Holder.outer}. */
  abstract readonly outer: Holder | undefined;

  /** Whether its end was a commit that has succeeded. */
  abstract readonly isCommitted: boolean;

  protected abstract readonly observer: SessionObserver;

  /** @throws {@link SessionClosedError} it gives out no sessions any more */
  abstract assertOpen(name: string): void;

  /** The sessions that are open, in the order of their first use. */
  get sessions(): readonly Session[] {
    // A list that is never changed needs no copy; it is asked for many times in each request.
    return this.#sessions.some(isClosed) ? this.#sessions.filter(isOpen) : this.#sessions;
  }

  /** Whether transactions beside those of its sessions are open (`requires_new`). */
  get hasWorkBeside(): boolean {
    return this.unfinished.length > 0;
  }

  /** The connection whose commit saves all that has been done so far; `undefined` where that takes several. */
  get workingConnection(): string | undefined {
    const [working, ...others] = this.sessions.filter((session) => session.hasWork);
    return others.length > 0 || this.hasWorkBeside ? undefined : working?.connectionName;
  }

  /** Names of all connections that it has, or had, a session of. */
  get connectionNames(): readonly string[] {
    return this.#sessions.map(({ connectionName }) => connectionName);
  }

  /**
   * The session of a connection, made on first use and again after it was closed.
   *
   * @throws {@link SessionClosedError} the context has been settled
   * @throws {@link UnknownConnectionError}
   */
  session(name: string): Session {
    this.assertOpen(name);
    return this.existing(name) ?? this.#keep(this.factory(name).create(this.#optionsOf(name)));
  }

  /**
   * Refuses an end in the transaction of another session: what is done there by injected services is that
   * one's, and they would end what they have not worked in (C6).
   *
   * @throws {@link InvalidTransactionStateError}
   */
  assertNotElsewhere(name: string, verb: string): void {
    if (this.#isElsewhere(name)) {
      throw new InvalidTransactionStateError(
        this.placeOf(name),
        `${verb}() ${ELSEWHERE}. It would end the session of the context, in which nothing there works. ` +
          'Return from the callback first, or use em.transactional().',
      );
    }
  }

  /**
   * Refuses what belongs to the transaction of the calling code, where the context does not learn of its end:
   * otherwise as {@link ContextSessions.assertNotElsewhere}.
   *
   * @param name the connection that is meant; any if omitted
   * @param call what was called, for the message
   * @throws {@link InvalidTransactionStateError}
   */
  assertFollows(call: string, name?: string): void {
    const names = name === undefined ? this.dependencies.connectionNames() : [name];
    const elsewhere = names.find((each) => this.#isElsewhere(each));
    if (elsewhere !== undefined) {
      throw new InvalidTransactionStateError(
        this.placeOf(elsewhere),
        `${call} ${ELSEWHERE}. It belongs to the session of the context, which may be committed where that ` +
          'transaction is rolled back, and the other way round. Call it after the callback, or give the ' +
          'callback a transaction that the context knows: ' +
          "session.transactional(callback, { propagation: 'requires_new' }), or dbContext.runInNewContext().",
      );
    }
  }

  /** Whether the calling code runs in the transaction of a session of `name` that is none of this context. */
  #isElsewhere(name: string): boolean {
    const ambient = ambientManager(this.factory(name).connection.orm.config, this);
    return ambient !== undefined && !isForkOf(ambient, this.existing(name)?.manager);
  }

  /** The first connection with changes that no commit will write any more, and the classes of their entities. */
  get unsaved(): UnsavedChanges | undefined {
    return this.#sessions
      .map(({ connectionName, manager }) => ({
        connectionName,
        entityNames: unsavedEntities(manager),
      }))
      .find(({ entityNames }) => entityNames.length > 0);
  }

  /** The session of a connection, if it has one that is open. */
  existing(name: string): Session | undefined {
    const session = this.latest(name);
    return session?.isClosed === true ? undefined : session;
  }

  /** The last session that it had of a connection, which may have ended. */
  latest(name: string): Session | undefined {
    return this.#sessions.find((each) => each.connectionName === name);
  }

  /**
   * Makes the transactions of a connection begin with these settings.
   *
   * @throws {@link InvalidTransactionStateError} one has begun with others
   * @throws {@link UnknownConnectionError}
   */
  configure(name: string, settings: TransactionSettings): void {
    this.factory(name);
    this.existing(name)?.configure(settings);
    const merged = mergeSettings(this.#settings.get(name), settings);
    this.#settings = new Map([...this.#settings, [name, merged]]);
  }

  /**
   * Makes an entity manager the session of a connection.
   *
   * @throws {@link InvalidTransactionStateError} there is a session already, or the fork is in a
   *   transaction of its own
   */
  put(name: string, manager: EntityManager): void {
    this.assertOpen(name);
    const session = this.factory(name).from(manager, this.#optionsOf(name));
    if ((this.existing(name) ?? session) !== session) {
      throw new InvalidTransactionStateError(
        this.placeOf(name),
        'the context has a session already. Take it out with popSession() first.',
      );
    }
    this.#keep(session);
  }

  /** Takes a session out of the context, which then no longer settles it. */
  pop(name: string): Session | undefined {
    this.assertOpen(name);
    const session = this.existing(name);
    session?.observe(undefined);
    this.#sessions = this.#sessions.filter((each) => each.connectionName !== name);
    return session;
  }

  /** See {@link Holder.endsUnfinished}. */
  endsUnfinished(): void {
    this.dependencies.unawaited.endsUnfinished(this);
  }

  /** See {@link Holder.waitsForItself}. */
  waitsForItself(wait: SelfWait): void {
    this.#obstacle = obstacleOf(this, wait);
    const connection = this.#infoOf(wait.connectionName);
    this.dependencies.watch?.waitsForItself(this.telemetry, connection, this.#obstacle);
  }

  /** See {@link Holder.obstacle}. */
  get obstacle(): string | undefined {
    return this.#obstacle === undefined || this.#obstacle.wait.isOver()
      ? undefined
      : `The context of ${this.origin} waited ${this.#obstacle.text}.`;
  }

  /** See {@link Holder.refused}. */
  refused(error: Error): void {
    if (sessionRefuse.hasSubscribers && error instanceof SessionClosedError) {
      publishRefused(this, this.#infoOf(error.connectionName), error);
    }
    this.dependencies.unawaited.refused(error, this);
  }

  /** What events call a connection; code may name one that there is not. */
  #infoOf(name: string): ConnectionInfo | undefined {
    return this.dependencies.connections().find((each) => each.name === name);
  }

  /** A session that takes the place of another counts as used anew, at the end of the order. */
  #keep(session: Session): Session {
    session.observe(this.observer);
    const { connectionName } = session;
    const others = this.#sessions.filter((each) => each.connectionName !== connectionName);
    this.#sessions = [...others, session];
    return session;
  }

  protected factory(name: string): SessionFactory {
    return this.dependencies.factory(name);
  }

  #optionsOf(name: string): SessionOptions {
    return { settings: this.#settings.get(name), holder: this, owner: this };
  }

  /** See {@link SessionOwner.own}. */
  own(connectionName: string, work: OwnedWork): void {
    this.assertOpen(connectionName);
    this.#owned = [...this.unfinished, work];
  }

  /** See {@link SessionOwner.holds}. */
  holds(session: object): boolean {
    return this.#sessions.some((each) => each === session);
  }

  /** Work beside the transactions of the sessions that is still under way (W3). */
  protected get unfinished(): readonly OwnedWork[] {
    return this.#owned.filter((work) => !work.isOver());
  }

  /** The connection that an error names which concerns all of them. */
  protected get anyConnection(): string {
    return this.#sessions[0]?.connectionName ?? DEFAULT_CONNECTION_NAME;
  }

  protected async endOwned(): Promise<void> {
    await Promise.all(this.unfinished.map((work) => work.end()));
  }
}
