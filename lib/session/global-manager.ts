import type { EntityManager, MikroORM } from '@mikro-orm/core';

import { askFor } from './asking-manager.js';
import { contextOutside, type ContextOf } from './context-outside.js';
import { forkOfClass } from './fork-of-class.js';
import { hasWorkOfItsOwn } from './own-fork.js';
import type { EntityManagerClass } from './session-manager.js';
import { standInClass } from './stand-in.js';

/** What one application knows of the contexts in which the global entity manager is a session. */
export interface GlobalClaim {
  /**
   * Finds, and creates where necessary, the session of the current context.
   *
   * @returns `undefined` where there is no context
   * @throws {@link SessionClosedError} the context has ended
   */
  find(): EntityManager | undefined;
  /** As `find()`, but makes no session, and returns `undefined` as well where the context has ended. */
  existing(): EntityManager | undefined;
  /** Whether the calling code runs in a context, which may have ended. */
  isInside(): boolean;
  runOutside<T>(work: () => T): T;
  /** The code of a context has forked the global entity manager, for work of its own. */
  forked(fork: EntityManager): void;
  /** How many contexts of other applications the calling code has entered since. */
  depth(): number;
}

const CLAIMS: unique symbol = Symbol.for('nestjs-db-context:global-manager-claims');

/** The applications that an orm is shared by, and what makes it again what it was before. */
interface Claims {
  readonly list: GlobalClaim[];
  readonly restore: () => void;
}

/** The global entity manager of an orm that an application has claimed. */
interface ClaimedManager extends EntityManager {
  [CLAIMS]?: Claims;
}

/**
 * Makes the global entity manager of `orm` stand for the session of the current context, and so all that
 * is made of it: repositories, request contexts, forks with `useContext`. Where there is no context, they
 * are what MikroORM makes them (W2).
 *
 * The object stays the same, since the application has injected it already; its class is another one. Forks
 * with `useContext` that the application made before have kept theirs; MikroORM asks `context` of the
 * configuration for these.
 *
 * @returns a function that takes the claim back; after the last one, `orm` is what it was before
 */
export function claimGlobalManager(orm: MikroORM, claim: GlobalClaim): () => void {
  const { list, restore } = (orm.em as ClaimedManager)[CLAIMS] ?? exchangeClass(orm);
  list.push(claim);
  return () => {
    list.splice(list.indexOf(claim), 1);
    if (list.length === 0) {
      restore();
    }
  };
}

/** The claim of the application whose context is the innermost one. */
function innermost(claims: readonly GlobalClaim[]): GlobalClaim | undefined {
  return claims.length < 2
    ? claims[0]
    : claims.reduce((one, other) => (other.depth() < one.depth() ? other : one));
}

function exchangeClass({ em, config }: MikroORM): Claims {
  const claims: GlobalClaim[] = [];
  const find = (): EntityManager | undefined => innermost(claims)?.find();
  const Base = em.constructor as EntityManagerClass;
  const previous = config.get('context');
  const previousFor: typeof previous = (name) => askFor(config, () => previous(name));
  // Whether a stand-in has asked for a session before it asks MikroORM.
  let hasAsked = false;
  const askMikroOrm: ContextOf = (manager, validate) => {
    hasAsked = true;
    try {
      return Base.prototype.getContext.call(manager, validate) as EntityManager;
    } finally {
      hasAsked = false;
    }
  };
  const outside = contextOutside(Base, config, previousFor) ?? askMikroOrm;

  class GlobalManager extends standInClass(Base, find) {
    override getContext(validate?: boolean): this {
      const found = find();
      if (found === undefined) {
        return outside(this, validate) as this;
      }
      return (found === this ? this : found.getContext(validate)) as this;
    }

    // A fork is the application's own: it has the filters of the session, and its transaction if that is asked for.
    override fork(options: NonNullable<Parameters<EntityManager['fork']>[0]> = {}): this {
      const Manager = options.useContext === true ? GlobalManager : Base;
      const forkOf = (origin: EntityManager): this =>
        forkOfClass(origin, { Base, Manager }, options) as this;
      const claim = innermost(claims);
      if (options.disableContextResolution === true || claim?.isInside() !== true) {
        return forkOf(options.disableContextResolution === true ? this : this.getContext(false));
      }
      // Otherwise a session that does not exist yet is not made, nor as the fork's constructor asks for a context.
      const session =
        options.keepTransactionContext === true ? this.getContext(false) : claim.existing();
      const fork = claim.runOutside(() => forkOf(session ?? this.getContext(false)));
      if (hasWorkOfItsOwn(options)) {
        claim.forked(fork);
      }
      return fork;
    }
  }

  // A fork without `useContext` is an ordinary one.
  Object.defineProperty(GlobalManager.prototype, 'constructor', { value: Base });
  Object.setPrototypeOf(em, GlobalManager.prototype);
  config.set('context', (name) => (hasAsked ? undefined : find()) ?? previousFor(name));
  const restore = (): void => {
    Object.setPrototypeOf(em, Base.prototype as object);
    config.set('context', previous);
    delete (em as ClaimedManager)[CLAIMS];
  };
  const made: Claims = { list: claims, restore };
  Object.defineProperty(em, CLAIMS, { value: made, configurable: true });
  return made;
}
