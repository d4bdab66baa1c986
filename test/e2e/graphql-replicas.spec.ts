import { defineConfig, type EntityManager } from '@mikro-orm/postgresql';
import { Args, Field, Mutation, ObjectType, Query, Resolver } from '@nestjs/graphql';
import { DbTransaction, InjectSession } from 'nestjs-db-context';
import { DbContextGraphQLModule } from 'nestjs-db-context/graphql';

import { connect, type GraphQLClient } from '../support/graphql-client.js';
import { graphQLModule, SERVERS } from '../support/graphql-world.js';
import { Note } from '../support/note.entity.js';
import { startReplicated, type ReplicatedDatabase } from '../support/replicated-database.js';
import { startApp, type TestApp } from '../support/test-app.js';

@ObjectType()
class Place {
  @Field()
  standby!: boolean;

  @Field()
  found!: boolean;
}

@Resolver()
class PlacesResolver {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Query(() => Place)
  async read(@Args('text') text: string): Promise<Place> {
    const [place] = await this.session.execute<Place[]>(
      'select pg_is_in_recovery() as standby, exists (select from note where text = ?) as found',
      [text],
    );
    return place!;
  }

  @DbTransaction({ readOnly: false })
  @Query(() => Place)
  readForWriting(@Args('text') text: string): Promise<Place> {
    return this.read(text);
  }

  @Mutation(() => Place)
  async write(@Args('text') text: string): Promise<Place> {
    await this.session.insert(Note, { text });
    return this.read(text);
  }
}

const ON_STANDBY = { standby: true, found: false };
const ON_PRIMARY = { standby: false, found: true };
const READ = 'query ($text: String!) { place: read(text: $text) { standby found } }';
const WRITE = 'mutation ($text: String!) { place: write(text: $text) { standby found } }';

describe('GraphQL with a replica', () => {
  let database: ReplicatedDatabase;

  beforeAll(async () => {
    database = await startReplicated(1);
  }, 60_000);
  afterAll(() => database.cluster.stop());

  describe.each(SERVERS)('over $server on $adapter', (server) => {
    let app: TestApp;
    const clients: GraphQLClient[] = [];

    beforeAll(async () => {
      app = await startApp({
        adapter: server.adapter,
        connections: [
          {
            ...defineConfig({
              clientUrl: database.cluster.primaryUrl,
              replicas: [{ host: '127.0.0.1', port: database.ports.standbys[0]! }],
              entities: [Note],
              pool: { min: 0, max: 3 },
            }),
            readYourWrites: { via: 'cookie', waitMs: 20 },
          },
        ],
        imports: [
          graphQLModule(server, {
            subscriptions: { 'graphql-ws': true },
            subscription: { fullWsTransport: true },
          }),
          DbContextGraphQLModule.forRoot({ readOnlyQueries: true }),
        ],
        providers: [PlacesResolver],
      });
      await database.pause(0);
    });
    afterAll(async () => {
      clients.forEach((client) => client.leave());
      await app?.close();
      await database.resume(0);
      await database.caughtUp(0);
    });

    const ask = async (
      query: string,
      text: string,
      cookie?: string,
    ): Promise<{ place: unknown; cookie: string | undefined }> => {
      const response = await app.fetch('/graphql', {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(cookie !== undefined && { cookie }) },
        body: JSON.stringify({ query, variables: { text } }),
      });
      const { data } = (await response.json()) as { data: { place: unknown } };
      return { place: data.place, cookie: response.headers.getSetCookie()[0]?.split(';')[0] };
    };

    it('Replicas: queries read from a replica, mutations and what a decorator excepts from the primary', async () => {
      const text = `read only ${server.server} ${server.adapter}`;
      expect((await ask(WRITE, text)).place).toEqual(ON_PRIMARY);
      expect((await ask(READ, text)).place).toEqual(ON_STANDBY);
      const excepted = READ.replace('read(', 'readForWriting(');
      expect((await ask(excepted, text)).place).toEqual(ON_PRIMARY);
    });

    it('Read-your-own-writes: the client of a mutation reads its write, others read from the replica', async () => {
      const text = `own ${server.server} ${server.adapter}`;
      const { cookie } = await ask(WRITE, text);
      expect(cookie).toMatch(/^db-position-default=/);
      expect((await ask(READ, text, cookie)).place).toEqual(ON_PRIMARY);
      expect((await ask(READ, text)).place).toEqual(ON_STANDBY);
    });

    it('Read-your-own-writes: a WebSocket sees its own writes', async () => {
      const text = `socket ${server.server} ${server.adapter}`;
      const [writer, other] = [connect(app.url), connect(app.url)];
      clients.push(writer, other);
      expect((await writer.ask(READ, { text })).data).toEqual({ place: ON_STANDBY });
      expect((await writer.ask(WRITE, { text })).data).toEqual({ place: ON_PRIMARY });
      expect((await writer.ask(READ, { text })).data).toEqual({ place: ON_PRIMARY });
      expect((await other.ask(READ, { text })).data).toEqual({ place: ON_STANDBY });
    });
  });
});
