import { execute, type ExecutionArgs } from 'graphql';

import { connect } from '../support/graphql-client.js';
import { SERVERS, startGraphQLWorld, type GraphQLWorld } from '../support/graphql-world.js';
import { LogRecorder } from '../support/log-recorder.js';

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
