import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';

import type { TestDatabase } from '../support/database.js';
import type { TestApp } from '../support/test-app.js';
import type { EventRecorder } from './event-recorder.js';
import type { SpecName } from './surface.js';

/** The two faces of the session: what `@InjectSession()` injects, and the manager behind it. */
export type Face = 'handle' | 'manager';

/** What a scenario finds beside the entity manager that it drives. */
export interface Kit {
  readonly orm: MikroORM;
  readonly app: TestApp;
  readonly database: TestDatabase;
  readonly events: EventRecorder;
  readonly isSession: boolean;
}

/** Something done with an entity manager that is in a transaction. */
export type Scenario = (em: EntityManager, kit: Kit) => unknown;

export interface CompareOptions {
  /** Whether the scenario is to fail, rather than to return. */
  readonly fails?: boolean;
  /** `fork`: the plain one is in no transaction, the session has none yet. */
  readonly plain?: 'transactional' | 'fork';
  /**
   * - `entities`: all but those of transactions; a session's come when it really begins.
   * - `all`: those as well.
   * - `ignored`: for nested transactions, before which the session flushes once more.
   *
   * @defaultValue 'entities'
   */
  readonly events?: 'entities' | 'all' | 'ignored';
}

export type Compare = {
  (title: string, scenario: Scenario, options?: CompareOptions): void;
  /** The same of a scenario that is to fail; a mistake in another one would fail for all alike. */
  failure(this: void, title: string, scenario: Scenario, options?: CompareOptions): void;
  /** One comparison for each value, which takes the place of `%s` in the title. */
  each<T>(
    this: void,
    values: readonly T[],
  ): (
    title: string,
    scenario: (...args: [...Parameters<Scenario>, T]) => unknown,
    options?: CompareOptions,
  ) => void;
};

/** Compares the session with a plain fork in a plain transaction, over the same rows. */
export interface Contract {
  readonly kit: Kit;
  /** Runs `scenario` with a plain fork, the handle and the manager, and expects three times the same. */
  readonly compare: Compare;
  /** Runs `scenario` with both faces of the session; for what is different on purpose. */
  readonly own: (title: string, scenario: Scenario) => void;
  /** To be called last: what this file is to cover has been called, on both faces. */
  readonly expectCovered: (spec: SpecName) => void;
}
