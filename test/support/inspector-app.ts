import { EntityManager } from '@mikro-orm/postgresql';
import {
  ConflictException,
  Controller,
  Get,
  HttpCode,
  Injectable,
  Param,
  Post,
  UseGuards,
  type CanActivate,
} from '@nestjs/common';
import { DbContext, InjectSession, RetryOnSerializationFailure } from 'nestjs-db-context';
import {
  DbContextInspectorModule,
  type DbContextInspectorOptions,
} from 'nestjs-db-context/inspector';

import { createTestDatabase, type TestDatabase } from './database.js';
import { Note, NOTE_SCHEMA } from './note.entity.js';
import { noteConnection, startApp, type TestApp, type TestAppOptions } from './test-app.js';

/** A value that nobody is to see. */
export const SECRET = 'a-secret-of-the-client';
/** A text that would run in a page that takes it for HTML. */
export const SCRIPT = '<script>globalThis.attacked = true</script>';

/** What errors of an application may have in place of texts. */
const ODD_FIELDS = {
  symbol: { name: Symbol('name') },
  bigint: { name: 10n, code: 10n },
  object: { name: { secret: SECRET }, code: { secret: SECRET } },
  long: { name: 'N'.repeat(100_000), code: 'C'.repeat(100_000) },
} as const;

@Injectable()
class Nobody implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

@Controller('notes')
export class InspectedController {
  #failures = 0;

  constructor(
    @InjectSession() private readonly session: EntityManager,
    @InjectSession('audit') private readonly audit: EntityManager,
    private readonly dbContext: DbContext,
  ) {}

  @Get('find/:text')
  async find(@Param('text') text: string): Promise<Note[]> {
    return await this.session.find(Note, { text });
  }

  @Post('both')
  async both(): Promise<void> {
    await this.session.insert(Note, { text: `${SECRET} in one` });
    await this.audit.insert(Note, { text: SECRET });
  }

  @Post('refused')
  async refused(): Promise<never> {
    await this.session.insert(Note, { text: `${SECRET} refused` });
    throw new ConflictException(`${SECRET} is taken`);
  }

  @Post('scripted')
  async scripted(): Promise<void> {
    // A name is no value, so that it is shown.
    await this.session.execute(`select ? as "${SCRIPT}" from no_such_table`, [SECRET]);
  }

  @Get('n-plus-one')
  async nPlusOne(): Promise<void> {
    for (const text of ['1', '2', '3', '4', '5', SECRET]) {
      await this.session.count(Note, { text });
    }
  }

  @Get('twelve')
  async twelve(): Promise<void> {
    for (let text = 0; text < 12; text++) {
      await this.session.count(Note, { text: `${text}` });
    }
  }

  @Post('parts')
  @HttpCode(200)
  async parts(): Promise<void> {
    await this.session
      .transactional(async (em) => {
        await em.insert(Note, { text: `${SECRET} in a part` });
        throw new Error('undo');
      })
      .catch(() => undefined);
  }

  @Post('retried')
  @HttpCode(200)
  @RetryOnSerializationFailure({ attempts: 2, backoffMs: 0 })
  async retried(): Promise<void> {
    if (this.#failures++ === 0) {
      await this.session.execute(
        `do $$ begin raise exception '${SECRET}' using errcode = '40001'; end $$`,
      );
    }
    await this.session.count(Note);
  }

  @Post('at-once')
  @HttpCode(200)
  async atOnce(): Promise<void> {
    const flush = async (text: string): Promise<void> => {
      this.session.persist(new Note(text));
      await this.session.flush();
    };
    await Promise.all([flush(`${SECRET} 1`), flush(`${SECRET} 2`)]);
  }

  @Post('swallowed')
  async swallowed(): Promise<void> {
    await this.unique().catch(() => undefined);
  }

  @Post('deferred')
  async deferred(): Promise<void> {
    await this.session.execute(`insert into later (code) values ('${SECRET}'), ('${SECRET}')`);
  }

  /** Hangs in the server for as long as a test holds the lock. */
  @Get('hanging')
  async hanging(): Promise<void> {
    await this.session.execute('select pg_advisory_xact_lock(17)');
  }

  @Post('unique')
  async unique(): Promise<void> {
    await this.session.execute(`insert into code (code) values ('${SECRET}'), ('${SECRET}')`);
  }

  /** Fails with an error of the server, or of the application, that is not what it was. */
  @Get('enriched/:how')
  async enriched(@Param('how') how: string): Promise<void> {
    if (how === 'made') {
      await this.session.count(Note);
      const fields = { code: '23505', severity: 'ERROR', routine: 'x', length: 9 };
      throw Object.assign(new Error(SECRET), fields);
    }
    try {
      await this.session.execute('select 1 / 0');
    } catch (error) {
      if (how === 'another') {
        throw Object.assign(new Error(`${SECRET} exists`), error);
      }
      if (how === 'changed') {
        (error as Error).message = `${SECRET}: ${(error as Error).message}`;
      }
      throw error;
    }
  }

  @Get('odd/:what')
  async odd(@Param('what') what: keyof typeof ODD_FIELDS): Promise<void> {
    await this.session.count(Note);
    throw Object.assign(new Error(SECRET), ODD_FIELDS[what]);
  }

  @Get('old-quotes')
  async oldQuotes(): Promise<void> {
    await this.session.execute('set local standard_conforming_strings = off');
    await this.session.execute(String.raw`select 'it\'s ${SECRET}', 'x'`);
  }

  @Get('denied/:text')
  @UseGuards(Nobody)
  denied(): void {}

  @Get('job')
  async job(): Promise<void> {
    await this.dbContext.runInNewContext(() => this.session.count(Note));
  }
}

/** An application over two databases with the inspector on. */
export interface InspectedApp extends TestApp {
  readonly database: TestDatabase;
}

/** Starts one. */
export async function startInspectedApp(
  options: Partial<TestAppOptions> = {},
  inspector: DbContextInspectorOptions = {},
): Promise<InspectedApp> {
  const [database, audit] = await Promise.all([createTestDatabase(), createTestDatabase()]);
  await Promise.all([database, audit].map((each) => each.query(NOTE_SCHEMA)));
  await database.query('create table code (code text unique)');
  await database.query('create table later (code text unique deferrable initially deferred)');
  const app = await startApp({
    watch: true,
    connections: [noteConnection(database.url), noteConnection(audit.url, { name: 'audit' })],
    controllers: [InspectedController],
    imports: [DbContextInspectorModule.forRoot(inspector)],
    ...options,
  });
  return {
    ...app,
    database,
    close: async () => {
      await app.close();
      await Promise.all([database.drop(), audit.drop()]);
    },
  };
}
