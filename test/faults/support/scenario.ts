import type { EntityManager } from '@mikro-orm/postgresql';
import { Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';

import { deferred, type Deferred } from '../../support/deferred.js';
import { Note } from '../../support/note.entity.js';

/** The code that a fault has its handler run. */
export type Handler = (work: Work) => unknown;

/** How the text of a row ends that must never be there. */
export const IN_VAIN = ' in vain';

/** A late statement that saw the variable of a tenant: whose it was, and whose it saw. */
export interface TenantSight {
  readonly own: string;
  readonly seen: string;
}

/** What work that outlived its request came to. */
export interface LateOutcome {
  readonly key: string;
  readonly outcome: PromiseSettledResult<unknown>;
}

/**
 * What a test has the handlers of its application do: the code that they run, the exact points at which
 * they wait, and a record of what each request wrote.
 */
@Injectable()
export class Scenario {
  handler: Handler = (work) => work.write('row');
  /** Called by the guard before a handler runs. */
  beforeHandler: ((key: string) => Promise<void>) | undefined;
  /** Texts that each request has written, whether they were saved or not. */
  readonly written = new Map<string, string[]>();
  /** Ids of the transactions that each request was in. */
  readonly transactions = new Map<string, Set<string>>();
  /** Requests whose handler failed, and nobody listens: an unhandled rejection in an application. */
  readonly unheard: string[] = [];
  /** What late statements saw of the tenants. */
  readonly tenantSights: TenantSight[] = [];
  readonly #points = new Map<string, Deferred<void>>();
  readonly #late: Promise<LateOutcome>[] = [];

  /** A point that one side reaches and the other waits for, by its name. */
  point(name: string): Deferred<void> {
    const point = this.#points.get(name) ?? deferred();
    this.#points.set(name, point);
    return point;
  }

  wrote(key: string, text: string): void {
    this.written.set(key, [...(this.written.get(key) ?? []), text]);
  }

  saw(key: string, xid: string): void {
    this.transactions.set(key, (this.transactions.get(key) ?? new Set()).add(xid));
  }

  /** Keeps work that nobody awaits. */
  leave(key: string, work: Promise<unknown>): void {
    this.#late.push(Promise.allSettled([work]).then(([outcome]) => ({ key, outcome })));
  }

  /** What the work that nobody awaited came to. */
  async late(): Promise<LateOutcome[]> {
    return Promise.all(this.#late);
  }

  /** Forgets the requests so far. */
  reset(): void {
    this.written.clear();
    this.transactions.clear();
    this.#late.length = 0;
  }
}

/** One request, in the hands of its handler. */
export class Work {
  constructor(
    readonly key: string,
    readonly session: EntityManager,
    readonly scenario: Scenario,
  ) {}

  /** The text of a row; it says whose it is. */
  text(label: string): string {
    const text = `${this.key}/${label}`;
    this.scenario.wrote(this.key, text);
    return text;
  }

  /** Saves a row, in the way that most applications do. */
  async write(label: string): Promise<void> {
    await this.session.persist(new Note(this.text(label))).flush();
  }

  /** Saves a row with one statement, past the unit of work. */
  async insert(label: string): Promise<void> {
    await this.session.insert(Note, { text: this.text(label) });
  }

  /** Saves a row that must never be there: it belongs to what is undone, or comes after the end. */
  async insertInVain(label = 'row'): Promise<void> {
    await this.session.insert(Note, { text: `${this.key}/${label}${IN_VAIN}` });
  }

  /** Resolves when the response has left, or its client has: the transaction is over for sure. */
  get gone(): Promise<void> {
    return this.scenario.point(`${this.key} gone`).promise;
  }

  /** The backend and the transaction that it is in. */
  async look(): Promise<{ readonly pid: number; readonly xid: string }> {
    const [row] = await this.session.execute<{ pid: number; xid: string }[]>(
      'select pg_backend_pid() as pid, pg_current_xact_id()::text as xid',
    );
    this.scenario.saw(this.key, row!.xid);
    return row!;
  }
}

/** The part of a response that both servers have. */
interface Closable {
  readonly raw?: Closable;
  once(event: 'close', listener: () => void): unknown;
}

/**
 * Lets the scenario know when a request is over, and holds the request before its handler where a test
 * asks for that.
 */
@Injectable()
export class ScenarioGuard implements CanActivate {
  constructor(private readonly scenario: Scenario) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const http = context.switchToHttp();
    const { key } = http.getRequest<{ params: { key: string } }>().params;
    const response = http.getResponse<Closable>();
    (response.raw ?? response).once('close', () => this.scenario.point(`${key} gone`).resolve());
    await this.scenario.beforeHandler?.(key);
    return true;
  }
}

/** What each request of a healthy application does. */
export const ordinary: Handler = async (work) => {
  await work.look();
  await work.write('row');
};
