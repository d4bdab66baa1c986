import type { EntityManager } from '@mikro-orm/postgresql';
import { Injectable, UseGuards, type CanActivate } from '@nestjs/common';
import { Query, Resolver } from '@nestjs/graphql';
import { execute, type ExecutionArgs, type ExecutionResult } from 'graphql';
import { InjectSession, SkipDbContext } from 'nestjs-db-context';

import { connect } from '../support/graphql-client.js';
import { SERVERS, startGraphQLWorld, type GraphQLWorld } from '../support/graphql-world.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { waitFor } from '../support/wait-for.js';

const closed: string[] = [];

/** The payloads after the first one, as graphql-js 17 makes them. */
function later(name: string): AsyncIterableIterator<object> {
  return {
    next: async () => ({ done: true, value: undefined }),
    return: async () => {
      closed.push(name);
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

/** Answers as a server does that has incremental delivery, once the operation has been executed. */
const incrementalPlugin = {
  requestDidStart: async () => ({
    responseForOperation: async ({ document, schema, contextValue }: ExecutionArgs) => ({
      http: { headers: new Map() },
      body: {
        kind: 'incremental',
        initialResult: { ...(await execute({ document, schema, contextValue })), hasNext: true },
        subsequentResults: later('http'),
      },
    }),
  }),
};

const incrementalExecute = async (args: ExecutionArgs): Promise<object> => ({
  initialResult: { ...(await execute(args)), hasNext: true },
  subsequentResults: later('websocket'),
});

describe.each(SERVERS.filter(({ server }) => server === 'apollo'))(
  'incremental delivery of $server over $adapter',
  (server) => {
    let world: GraphQLWorld;
    const log = new LogRecorder();

    beforeAll(async () => {
      world = await startGraphQLWorld({
        server,
        driverOptions: {
          plugins: [incrementalPlugin],
          subscriptions: { 'graphql-ws': { execute: incrementalExecute } },
        },
      });
      world.app.useLogger(log);
    });
    afterAll(() => world?.close());

    it('W1: is refused and rolled back, since its first payload would leave before the COMMIT', async () => {
      const query = 'mutation { addNote(text: "lost") { id } }';
      const client = connect(world.url);
      const answers = [await world.ask(query), await client.ask(query)];
      client.leave();
      for (const answer of answers) {
        expect(answer).toMatchObject({
          data: null,
          errors: [
            {
              message: expect.stringContaining('mutation (addNote) was rolled back'),
              extensions: { code: 'INCREMENTAL_DELIVERY_NOT_SUPPORTED' },
            },
          ],
        });
      }
      expect(await world.savedTexts()).toEqual([]);
      expect(closed.splice(0)).toEqual(['http', 'websocket']);
      expect(log.ofLibrary('error')).toHaveLength(2);
      expect(world.runningContexts()).toBe(0);
      expect(world.pool()).toMatchObject({ checkedOut: 0, waiting: 0 });
    });
  },
);

@Injectable()
class WritingGuard implements CanActivate {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  async canActivate(): Promise<boolean> {
    await this.session.insert(Note, { text: 'guard' });
    return true;
  }
}

@Resolver()
class PayloadsResolver {
  /** Its guard has no session in any scope. */
  @SkipDbContext()
  @UseGuards(WritingGuard)
  @Query(() => String, { nullable: true })
  refused(): string {
    return 'found';
  }

  @UseGuards(WritingGuard)
  @Query(() => String, { nullable: true })
  guardedFailure(): string {
    throw new Error('after the guard');
  }
}

/** Says an answer once more in later payloads, of both formats that graphql-js has had. */
async function* payloadsAfterFirst({ errors, data }: ExecutionResult): AsyncGenerator<object> {
  yield { incremental: [{ data, errors, path: [] }], hasNext: true };
  yield { incremental: [{ data, id: '0' }], completed: [{ id: '1', errors }], hasNext: false };
}

async function* executeInPayloads(args: ExecutionArgs): AsyncGenerator<object> {
  const answer = await execute(args);
  yield { ...answer, hasNext: true };
  yield* payloadsAfterFirst(answer);
}

const executeIncrementally = async (args: ExecutionArgs): Promise<object> => {
  const answer = await execute(args);
  return {
    initialResult: { ...answer, hasNext: true },
    subsequentResults: payloadsAfterFirst(answer),
  };
};

const REFUSED = [
  {
    message: expect.stringMatching(/^No database context is active here\. [^\n]*$/),
    extensions: { code: 'DB_CONTEXT_NOT_ACTIVE' },
  },
];
const REFUSED_PAYLOADS = [
  { errors: REFUSED, data: { refused: null }, hasNext: true },
  { incremental: [{ errors: REFUSED, data: { refused: null }, path: [] }], hasNext: true },
  {
    incremental: [{ data: { refused: null }, id: '0' }],
    completed: [{ id: '1', errors: REFUSED }],
    hasNext: false,
  },
];

const FIRST_ERRORS = {
  'root-field': [{ message: 'after the guard' }],
  operation: [{ extensions: { code: 'INCREMENTAL_DELIVERY_NOT_SUPPORTED' } }],
} as const;

describe.each(
  SERVERS.filter(({ server }) => server === 'apollo').flatMap((server) => [
    { ...server, scope: 'root-field' as const },
    { ...server, scope: 'operation' as const },
  ]),
)(
  'payloads of an operation without a context of its own, $server over $adapter, scope $scope',
  ({ scope, ...server }) => {
    let world: GraphQLWorld;

    beforeAll(async () => {
      world = await startGraphQLWorld({
        server,
        graphql: { scope },
        mount: 'middleware',
        providers: [PayloadsResolver, WritingGuard],
        driverOptions: {
          legacyExperimentalExecuteIncrementally: executeIncrementally,
          subscriptions: { 'graphql-ws': { execute: executeInPayloads } },
        },
      });
    });
    afterAll(() => world?.close());

    const askForPayloads = async (query: string): Promise<unknown[]> => {
      const response = await world.fetch('/graphql', {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'multipart/mixed; deferSpec=20220824, application/json',
        },
        body: JSON.stringify({ query }),
      });
      const parts = (await response.text()).matchAll(/^\{.*\}$/gm);
      return [...parts].map(([part]): unknown => JSON.parse(part));
    };

    it('has the codes of errors, and none of the lines for developers, over HTTP', async () => {
      expect(await askForPayloads('{ refused }')).toMatchObject(REFUSED_PAYLOADS);
    });

    it('nor over a WebSocket', async () => {
      const client = connect(world.url);
      const listening = client.listen('{ refused }');
      const received = [await listening.next(), await listening.next(), await listening.next()];
      client.leave();
      expect(received).toMatchObject(REFUSED_PAYLOADS);
    });

    it('S2: errors in the first payload roll the session of guards and fields back', async () => {
      const [first] = await askForPayloads('{ guardedFailure }');
      expect(first).toMatchObject({ errors: FIRST_ERRORS[scope] });
      await waitFor(() => world.pool().checkedOut === 0 && world.runningContexts() === 0, {
        what: 'all contexts to be settled',
      });
      expect(await world.savedTexts()).toEqual([]);
    });
  },
);
