import type { EntityManager } from '@mikro-orm/postgresql';
import {
  Args,
  Field,
  Int,
  Mutation,
  ObjectType,
  Parent,
  Query,
  ResolveField,
  Resolver,
} from '@nestjs/graphql';
import { CommitOn, DbContext, InjectSession } from 'nestjs-db-context';

import { deferred } from '../support/deferred.js';
import {
  SERVERS,
  startGraphQLWorld,
  type GraphQLAnswer,
  type GraphQLWorld,
} from '../support/graphql-world.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { waitFor } from '../support/wait-for.js';

@ObjectType('Entry')
class EntryType {
  @Field(() => Int)
  id!: number;

  @Field()
  text!: string;
}

/** A root field, whose fields write by themselves. */
@Resolver(() => EntryType)
class EntriesResolver {
  hangs = deferred();

  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Mutation(() => EntryType, { nullable: true })
  addEntry(@Args('text') text: string): Note {
    const note = new Note(text);
    this.session.persist(note);
    return note;
  }

  @CommitOn(() => true)
  @Mutation(() => EntryType, { nullable: true })
  failsButStays(@Args('text') text: string): Note {
    this.addEntry(text);
    throw new Error('failed');
  }

  @Query(() => EntryType, { nullable: true })
  entry(): object {
    return { id: 0, text: 'entry' };
  }

  @ResolveField(() => String, { nullable: true })
  async written(@Parent() { text }: Note): Promise<string> {
    await this.session.insert(Note, { text: `${text} written` });
    return text;
  }

  @ResolveField(() => String, { nullable: true })
  async writtenTwice(@Parent() { text }: Note): Promise<string> {
    await this.session.execute('set constraints all deferred');
    await this.session.insert(Note, { text: `${text} twice` });
    await this.session.insert(Note, { text: `${text} twice` });
    return text;
  }

  @ResolveField(() => String, { nullable: true })
  failing(): string {
    throw new Error('the field failed');
  }

  @ResolveField(() => Boolean)
  counted(): Promise<boolean> {
    return this.session.count(Note).then(() => this.dbContext.isActive());
  }

  @ResolveField(() => String, { nullable: true })
  async hanging(): Promise<string> {
    await this.hangs.promise;
    return 'never';
  }
}

const ROLLED_BACK = {
  message:
    'What guards and field resolvers of the mutation did was rolled back because of its errors, and the data ' +
    'shows what they returned before that. What a root field did is saved unless it has an error.',
  extensions: { code: 'ROLLED_BACK' },
};
const dropped = (origin: string): string =>
  `The work of guards and field resolvers of ${origin} was rolled back: the operation was not to be ` +
  'committed, by its errors or by commitOn. Its root fields have transactions of their own ' +
  "(scope: 'root-field').";

describe.each(SERVERS)('fields beside the middleware, $server over $adapter', (server) => {
  let world: GraphQLWorld;
  const log = new LogRecorder();

  beforeAll(async () => {
    world = await startGraphQLWorld({
      server,
      mount: 'middleware',
      graphql: { scope: 'root-field' },
      contextTimeoutMs: 2_000,
      providers: [EntriesResolver],
      driverOptions: { allowBatchedHttpRequests: true, allowBatchedQueries: true },
    });
    world.app.useLogger(log);
  });
  afterAll(() => world?.close());
  beforeEach(async () => {
    await world.database.query('truncate note restart identity');
    log.lines.length = 0;
  });
  afterEach(() =>
    waitFor(() => world.pool().checkedOut === 0 && world.runningContexts() === 0, {
      what: 'all contexts to be settled',
    }),
  );

  const askAll = async (...queries: readonly string[]): Promise<GraphQLAnswer[]> => {
    const response = await world.fetch('/graphql', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(queries.map((query) => ({ query }))),
    });
    return (await response.json()) as GraphQLAnswer[];
  };

  it('F4: what they wrote is saved with an answer without errors, also under another operation of a batch that fails', async () => {
    const [one, other] = await askAll(
      'mutation { addEntry(text: "one") { counted written } }',
      'mutation { addEntry(text: "other") { counted failing } }',
    );
    expect(one).toEqual({ data: { addEntry: { counted: true, written: 'one' } } });
    expect(other).toMatchObject({
      data: { addEntry: { counted: true, failing: null } },
      errors: [{ message: 'the field failed' }, ROLLED_BACK],
    });
    expect((await world.savedTexts()).toSorted()).toEqual(['one', 'one written', 'other']);
    // It had only read.
    expect(log.ofLibrary('error')).toEqual([]);
  });

  it.each([0, 1])('F4: nor does one that is not valid undo it (at place %i)', async (place) => {
    const queries = ['mutation { addEntry(text: "one") { written } }'];
    queries.splice(place, 0, '{ nonsense }');
    const answers = await askAll(...queries);
    expect(answers[1 - place]).toEqual({ data: { addEntry: { written: 'one' } } });
    expect(answers[place]!.errors).toHaveLength(1);
    expect(await world.savedTexts()).toEqual(['one', 'one written']);
  });

  it('F4: what they wrote is rolled back with errors, which the answer and the log say', async () => {
    const { data, errors } = await world.ask(
      'mutation { addEntry(text: "one") { written failing } }',
    );
    expect(data).toEqual({ addEntry: { written: 'one', failing: null } });
    expect(errors).toMatchObject([{ message: 'the field failed' }, ROLLED_BACK]);
    expect(await world.savedTexts()).toEqual(['one']);
    expect(log.ofLibrary('error')).toEqual([dropped('mutation (addEntry)')]);
  });

  it('W1: of a query the log says it', async () => {
    const { data, errors } = await world.ask('{ entry { written failing } }');
    expect(data).toEqual({ entry: { written: 'entry', failing: null } });
    expect(errors).toMatchObject([{ message: 'the field failed' }]);
    expect(errors).toHaveLength(1);
    expect(await world.savedTexts()).toEqual([]);
    expect(log.ofLibrary('error')).toEqual([dropped('query (entry)')]);
  });

  it('F4: a root field that fails says nothing of fields that did nothing', async () => {
    const { errors } = await world.ask('mutation { refuse(text: "one") { text } }');
    expect(errors).toMatchObject([{ message: 'refused' }]);
    expect(errors).toHaveLength(1);
    expect(log.ofLibrary('error')).toEqual([]);
  });

  it('S2: a root field has the commitOn of its own, whatever becomes of the fields', async () => {
    const { errors } = await world.ask(
      'mutation { failsButStays(text: "one") { id } addEntry(text: "other") { written } }',
    );
    expect(errors).toMatchObject([{ message: 'failed' }, ROLLED_BACK]);
    expect(await world.savedTexts()).toEqual(['one', 'other']);
  });

  it('S1: a COMMIT of theirs that fails is an error of the answer, whose root fields are saved', async () => {
    const { status, data, errors } = await world.ask(
      'mutation { addEntry(text: "one") { writtenTwice } }',
    );
    expect([status, data]).toEqual([200, { addEntry: { writtenTwice: 'one' } }]);
    expect(errors).toMatchObject([
      {
        message: expect.stringMatching(
          /^What guards and field resolvers did could not be committed: .*note_text_unique.* What root fields did is saved\.$/s,
        ),
        extensions: { code: '23505' },
      },
    ]);
    expect(await world.savedTexts()).toEqual(['one']);
    expect(log.ofLibrary('error')).toEqual([
      expect.stringMatching(
        /^guards and field resolvers of mutation \(addEntry\) could not be committed: .*note_text_unique/s,
      ),
    ]);
  });

  it('F6: a field that hangs is cut off', async () => {
    const resolver = world.app.get(EntriesResolver);
    const { data, errors } = await world.ask(
      'mutation { addEntry(text: "one") { written hanging } }',
    );
    expect(data).toEqual({ addEntry: { written: 'one', hanging: null } });
    expect(errors?.[0]).toMatchObject({ extensions: { code: 'CONTEXT_TIMEOUT' } });
    expect(errors?.at(-1)).toMatchObject(ROLLED_BACK);
    expect(await world.savedTexts()).toEqual(['one']);
    resolver.hangs.resolve();
  });
});
