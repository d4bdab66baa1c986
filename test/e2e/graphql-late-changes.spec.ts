import type { EntityManager } from '@mikro-orm/postgresql';
import { Args, Field, Mutation, ObjectType, Parent, ResolveField, Resolver } from '@nestjs/graphql';
import { InjectSession } from 'nestjs-db-context';

import { SERVERS, startGraphQLWorld, type GraphQLWorld } from '../support/graphql-world.js';
import { LogRecorder } from '../support/log-recorder.js';
import { Note } from '../support/note.entity.js';
import { waitFor } from '../support/wait-for.js';

@ObjectType('Draft')
class DraftType {
  @Field()
  text!: string;
}

@Resolver(() => DraftType)
class DraftsResolver {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Mutation(() => DraftType)
  addDraft(@Args('text') text: string): Note {
    const note = new Note(text);
    this.session.persist(note);
    return note;
  }

  @Mutation(() => DraftType)
  addOther(@Args('text') text: string): Note {
    return this.addDraft(text);
  }

  @ResolveField(() => String)
  changed(@Parent() note: Note): string {
    note.text += '!';
    return note.text;
  }
}

const warningOf = (route: string): string =>
  `${route} has committed its context, and its entities were changed after that (Note), so the answer may show ` +
  'what is not saved. Change them in the root field, or give the operation one context for all its fields: ' +
  "DbContextGraphQLModule with scope: 'operation'.";

describe.each(
  SERVERS.flatMap((server) => [
    { ...server, scope: 'root-field' as const, mount: 'interceptor' as const },
    { ...server, scope: 'root-field' as const, mount: 'middleware' as const },
    { ...server, scope: 'absent' as const, mount: 'interceptor' as const },
    { ...server, scope: 'operation' as const, mount: 'interceptor' as const },
  ]),
)(
  'changes by fields, $server over $adapter, scope $scope, mount $mount',
  ({ scope, mount, ...server }) => {
    const log = new LogRecorder();
    let world: GraphQLWorld;

    beforeAll(async () => {
      world = await startGraphQLWorld({
        server,
        mount,
        watch: true,
        graphql: scope === 'absent' ? scope : { scope },
        providers: [DraftsResolver],
      });
      world.app.useLogger(log);
    });
    afterAll(() => world?.close());

    it(`W1: ${scope === 'operation' ? 'are saved' : 'are not saved, and the log says it'}`, async () => {
      const { data } = await world.ask(
        'mutation { addOther(text: "other") { text } addDraft(text: "draft") { changed } }',
      );
      expect(data).toEqual({ addOther: { text: 'other' }, addDraft: { changed: 'draft!' } });
      if (scope === 'operation') {
        expect(await world.savedTexts()).toEqual(['other', 'draft!']);
        return;
      }
      expect(await world.savedTexts()).toEqual(['other', 'draft']);
      await waitFor(() => log.ofLibrary('warn').length > 0, { what: 'the warning' });
      expect(log.ofLibrary('warn')).toEqual([warningOf('DraftsResolver.addDraft')]);
    });
  },
);
