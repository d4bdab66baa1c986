import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';

import { credentials, loadPackageDefinition, status, type ServiceError } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import type { EntityManager } from '@mikro-orm/postgresql';
import { Controller } from '@nestjs/common';
import { GrpcStreamMethod, Transport, type MicroserviceOptions } from '@nestjs/microservices';
import { DbContext, InjectSession, SkipDbContext } from 'nestjs-db-context';
import { concatMap, lastValueFrom, Subject, tap, toArray, type Observable } from 'rxjs';

import { Note } from '../support/note.entity.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';
import { waitFor } from '../support/wait-for.js';

const PROTO = fileURLToPath(new URL('../fixtures/grpc/notes.proto', import.meta.url));

interface NoteMessage {
  readonly text: string;
}

interface Summary {
  readonly count: number;
  readonly xids: string;
}

/** A call whose client sends messages one by one. */
interface ImportCall {
  write(message: NoteMessage): void;
  end(): void;
  cancel(): void;
}

type Import = (answer: (error: ServiceError | null, summary?: Summary) => void) => ImportCall;

interface NotesClient {
  readonly Import: Import;
  readonly ImportAlone: Import;
  close(): void;
}

let received = 0;

@Controller()
class NotesController {
  constructor(
    @InjectSession() private readonly session: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @GrpcStreamMethod('Notes', 'Import')
  import(messages: Observable<NoteMessage>): Observable<Summary> {
    return this.#import(messages);
  }

  @SkipDbContext()
  @GrpcStreamMethod('Notes', 'ImportAlone')
  importAlone(messages: Observable<NoteMessage>): Observable<Summary> {
    return this.#import(messages);
  }

  #import(messages: Observable<NoteMessage>): Observable<Summary> {
    return this.dbContext.bind(messages, (notes) =>
      notes.pipe(
        concatMap(({ text }) => this.#save(text)),
        toArray(),
        concatMap(async (xids) => ({
          count: await this.session.count(Note),
          xids: [...new Set(xids)].join(),
        })),
      ),
    );
  }

  async #save(text: string): Promise<string> {
    if (text === 'refused') {
      throw new Error('this note is refused');
    }
    await this.session.insert(Note, { text });
    const [row] = await this.session.execute<{ xid: string }[]>(
      'select pg_current_xact_id()::text as xid',
    );
    received++;
    return row!.xid;
  }
}

/** A port that was free a moment ago: Nest does not say which one gRPC has taken. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

describe('dbContext.bind()', () => {
  let client: NotesClient;
  const at = useWorld(
    async () => {
      const url = `127.0.0.1:${await freePort()}`;
      const world = await startWorld(
        {},
        {
          controllers: [NotesController],
          configure: (app) =>
            app.connectMicroservice<MicroserviceOptions>(
              {
                transport: Transport.GRPC,
                options: { package: 'notes', protoPath: PROTO, url },
              },
              { inheritAppConfig: true },
            ),
        },
      );
      await world.app.startAllMicroservices();
      const { notes } = loadPackageDefinition(loadSync(PROTO)) as unknown as {
        notes: { Notes: new (url: string, credentials: object) => NotesClient };
      };
      client = new notes.Notes(url, credentials.createInsecure());
      return {
        ...world,
        close: async () => {
          client.close();
          await world.close();
        },
      };
    },
    { hasLateWork: true },
  );
  beforeEach(() => {
    received = 0;
  });

  describe.each(['Import', 'ImportAlone'] as const)('on the client stream %s of gRPC', (method) => {
    /** Sends notes, each when the one before was saved, so that they come one by one. */
    const send = async (
      texts: readonly string[],
      how: 'end' | 'cancel' = 'end',
    ): Promise<Summary | ServiceError> => {
      let call: ImportCall | undefined;
      const answer = new Promise<Summary | ServiceError>((resolve) => {
        call = client[method]((error, summary) => resolve(error ?? summary!));
      });
      for (const [index, text] of texts.entries()) {
        call!.write({ text });
        await Promise.race([
          answer,
          waitFor(() => received === index + 1, { what: `the note ${text}` }),
        ]);
      }
      call![how]();
      return answer;
    };

    it('W1: all messages are one unit of work, which is committed before the answer', async () => {
      const summary = (await send(['a', 'b', 'c'])) as Summary;
      expect(await at.world.savedTexts()).toEqual(['a', 'b', 'c']);
      expect(summary.count).toBe(3);
      expect(await at.world.database.query('select distinct xid::text as xid from note')).toEqual([
        { xid: summary.xids },
      ]);
    });

    it('W1: nothing of a client that cancels is saved', async () => {
      expect(await send(['a', 'b'], 'cancel')).toMatchObject({ code: status.CANCELLED });
      await waitFor(() => at.world.pool().checkedOut === 0, { what: 'the rollback' });
      expect(await at.world.savedTexts()).toEqual([]);
    });

    it('W1: an error rolls all of them back', async () => {
      const error = (await send(['a', 'b', 'refused'])) as ServiceError;
      expect(error.details).toContain('Internal server error');
      expect(await at.world.savedTexts()).toEqual([]);
    });
  });

  describe('on an Observable outside of any context', () => {
    const save = (source: Observable<string>): Observable<string> =>
      at.dbContext.bind(source, (texts) =>
        texts.pipe(
          concatMap(async (text) => {
            await at.insert(text);
            return text;
          }),
        ),
      );

    const isInserted = (text: string): Promise<void> =>
      waitFor(() => at.world.proxy.log.some((sql) => sql.includes(`'${text}'`)), {
        what: `the insert of ${text}`,
      });

    it('S1: passes its last value on after the commit, and an error after the rollback', async () => {
      const source = new Subject<string>();
      const passed: string[] = [];
      const done = lastValueFrom(save(source).pipe(tap((text) => passed.push(text))));
      source.next('a');
      await isInserted('a');
      expect(passed).toEqual([]);
      source.complete();
      await expect(done).resolves.toBe('a');
      expect(await at.world.savedTexts()).toEqual(['a']);

      const failing = new Subject<string>();
      const failed = lastValueFrom(save(failing));
      failing.next('b');
      await isInserted('b');
      failing.error(new Error('the socket is gone'));
      await expect(failed).rejects.toThrow('the socket is gone');
      expect(await at.world.savedTexts()).toEqual(['a']);
    });

    it('S4: is rolled back where nobody listens any more', async () => {
      const source = new Subject<string>();
      const subscription = save(source).subscribe();
      source.next('a');
      await waitFor(() => at.world.pool().checkedOut === 1, { what: 'the insert' });
      subscription.unsubscribe();
      await waitFor(() => at.world.pool().checkedOut === 0, { what: 'the rollback' });
      expect(await at.world.savedTexts()).toEqual([]);
    });
  });

  it('each call of a function is a unit of work of its own', async () => {
    const save = at.dbContext.bind(async (text: string, works: boolean) => {
      await at.insert(text);
      if (!works) {
        throw new Error('the listener failed');
      }
      return at.xid();
    });
    const xids = await Promise.all([save('a', true), save('b', true)]);
    expect(xids[0]).not.toBe(xids[1]);
    await expect(save('c', false)).rejects.toThrow('the listener failed');
    expect((await at.world.savedTexts()).toSorted()).toEqual(['a', 'b']);
  });
});
