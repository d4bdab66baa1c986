import { createRequire } from 'node:module';
import { join } from 'node:path';

import { InvalidOptionsError } from '../errors.js';
import { explainRefusal } from './refused-request.js';

/**
 * What a server has answered, the part of it that most tests look at.
 *
 * @publicApi
 */
export interface TestAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** The body as it came. */
  readonly text: string;
  /** The body as its content type says: parsed JSON, the fields of a form. */
  readonly body: unknown;
}

/**
 * A request of supertest, the part of it that most tests use. It is sent when it is awaited. Where
 * work of it was refused, the error of an expectation that failed says why.
 *
 * @publicApi
 */
export interface TestCall extends PromiseLike<TestAnswer> {
  /** Sets a header. */
  set(name: string, value: string): this;
  /** Sets several headers. */
  set(fields: Readonly<Record<string, string>>): this;
  /** Sets `Content-Type`, by a type or by its short name (`json`). */
  type(value: string): this;
  /** Sets `Accept`, by a type or by its short name. */
  accept(value: string): this;
  /** Adds to the query of the path. */
  query(value: object | string): this;
  /** Sets the body; an object becomes JSON. */
  send(body?: object | string): this;
  /** Expects a status, and a body if one is given. */
  expect(status: number, body?: unknown): this;
  /** Expects a header. */
  expect(field: string, value: string | RegExp): this;
  /** Expects what a function checks; what it throws or returns is the error. */
  expect(check: (answer: TestAnswer) => unknown): this;
}

/**
 * Sends requests by supertest.
 *
 * @publicApi
 */
export interface TestAgent {
  get(path: string): TestCall;
  head(path: string): TestCall;
  post(path: string): TestCall;
  put(path: string): TestCall;
  patch(path: string): TestCall;
  delete(path: string): TestCall;
  options(path: string): TestCall;
}

/**
 * Sends requests that belong to the test: by supertest, and, where the application has one, by its
 * `inject()`.
 *
 * @publicApi
 */
export type TestRequests<T extends object> = TestAgent & Pick<T, Extract<keyof T, 'inject'>>;

const VERBS = ['get', 'head', 'post', 'put', 'patch', 'delete', 'options'] as const;

type Supertest = (server: unknown) => TestAgent;

/** What requests get of their test. */
interface RequestOwner {
  headers(): Readonly<Record<string, string>>;
  run<T>(work: () => T): T;
}

/**
 * @param app an application, or its server
 * @param load loads supertest; called with the first request by it
 */
export function testRequests<T extends object>(
  app: T,
  owner: RequestOwner,
  load: () => Supertest = loadSupertest,
): TestRequests<T> {
  const { getHttpServer, inject } = app as {
    readonly getHttpServer?: () => unknown;
    readonly inject?: (...args: unknown[]) => unknown;
  };
  const verbs = VERBS.map((verb) => [
    verb,
    (path: string) => {
      const agent = load()(getHttpServer === undefined ? app : getHttpServer.call(app));
      return explainRefusal(agent[verb](path).set(owner.headers()));
    },
  ]);
  return {
    ...(Object.fromEntries(verbs) as TestAgent),
    // It calls the handler of the server in the async context of its caller, past the events of the server.
    ...(inject && {
      inject: (...args: unknown[]) => owner.run(() => inject.apply(app, args)),
    }),
  } as TestRequests<T>;
}

/** The application's own, which is no dependency of this library. */
function loadSupertest(): Supertest {
  try {
    return createRequire(join(process.cwd(), 'package.json'))('supertest') as Supertest;
  } catch (error) {
    throw new InvalidOptionsError(
      'db.request(app) sends requests by supertest, which cannot be loaded. Install it, or send them ' +
        'otherwise with the headers of db.headers(): fetch(url, { headers: db.headers() }).',
      error,
    );
  }
}
