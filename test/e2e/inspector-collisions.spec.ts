import {
  All,
  Controller,
  Get,
  Module,
  Post,
  VersioningType,
  type DynamicModule,
  type Type,
} from '@nestjs/common';
import { RouterModule } from '@nestjs/core';
import { InvalidOptionsError } from 'nestjs-db-context';
import { DbContextInspectorModule } from 'nestjs-db-context/inspector';

import { fullMessage } from '../support/full-message.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { LogRecorder } from '../support/log-recorder.js';
import {
  noteConnection,
  startApp,
  type AdapterName,
  type TestApp,
  type TestAppOptions,
} from '../support/test-app.js';

@Controller('notes')
class NotesController {
  @Get()
  list(): string {
    return 'the notes of the application';
  }
}

@Controller('notes')
class DeepController {
  @Post('deep/:id')
  deep(): void {}
}

@Controller({ path: ['others', 'Notes'] })
class SeveralController {
  @All(['one', 'two'])
  all(): void {}
}

@Controller()
class MountedController {
  @Get('list')
  list(): void {}
}

@Module({ controllers: [MountedController] })
class MountedModule {}

@Controller()
class SlugController {
  @Get(':slug')
  page(): string {
    return 'a page of the application';
  }
}

@Controller({ path: 'notes', version: '1' })
class VersionedController {
  @Get()
  list(): string {
    return 'the first version';
  }
}

@Controller('notes-of-others')
class OtherController {
  @Get()
  list(): void {}

  @Post(':slug')
  save(): void {}
}

@Module({})
class RoutesModule {}

const AT_NOTES = DbContextInspectorModule.forRoot({ path: '/notes' });

describe.each<AdapterName>(['express', 'fastify'])(
  'routes of the application, over %s',
  (adapter) => {
    const rest = adapter === 'express' ? '*path' : '*';

    @Controller()
    class RestController {
      @Get(rest)
      rest(): string {
        return 'what is left';
      }
    }

    let database: TestDatabase;
    let app: TestApp | undefined;
    const log = new LogRecorder();
    beforeAll(async () => {
      database = await createTestDatabase();
    });
    afterAll(() => database.drop());
    afterEach(async () => {
      await app?.close();
      app = undefined;
      log.lines.length = 0;
    });

    const start = async (
      imports: readonly (DynamicModule | Type)[],
      options: Partial<TestAppOptions> = {},
    ): Promise<void> => {
      app = await startApp({
        adapter,
        connections: [noteConnection(database.url)],
        imports,
        ...options,
        configure: (nest) => {
          nest.useLogger(log);
          options.configure?.(nest);
        },
      });
    };
    const moduleOf = (...controllers: Type[]): DynamicModule => ({
      module: RoutesModule,
      controllers,
    });
    const warnings = (): string[] =>
      log.lines
        .filter(({ level, context, message }) => {
          const isOfBoot = message.startsWith('The inspector is at');
          return level === 'warn' && context === 'DbContextInspectorModule' && !isOfBoot;
        })
        .map(({ message }) => message);
    const page = async (path: string): Promise<string> => (await app!.fetch(path)).text();

    it.each<[string, ...(DynamicModule | Type)[]]>([
      ['NotesController.list (GET /notes)', moduleOf(NotesController)],
      ['DeepController.deep (POST /notes/deep/:id)', moduleOf(DeepController)],
      ['SeveralController.all (ALL /Notes/one)', moduleOf(SeveralController)],
      [
        'MountedController.list (GET /notes/list)',
        MountedModule,
        RouterModule.register([{ path: 'notes', module: MountedModule }]),
      ],
    ])('at or below its path fail the boot: %s', async (route, ...others) => {
      for (const imports of [
        [AT_NOTES, ...others],
        [...others, AT_NOTES],
      ]) {
        await expect(start(imports)).rejects.toMatchObject({
          constructor: InvalidOptionsError,
          message: fullMessage(
            'INVALID_OPTIONS',
            "The page of DbContextInspectorModule is at '/notes', and at or below that the application has " +
              `${route}, so that one of them would not be reached. Give the inspector another path.`,
          ),
        });
      }
    });

    it('that are no part of it, or of another version, are left alone', async () => {
      await start([AT_NOTES, moduleOf(OtherController, VersionedController)], {
        configure: (nest) => {
          nest.setGlobalPrefix('api');
          nest.enableVersioning({ type: VersioningType.URI });
        },
      });
      expect(await page('/api/notes')).toContain('notes/page.js');
      expect(await page('/api/v1/notes')).toBe('the first version');
      expect(warnings()).toEqual([]);
    });

    it('with a parameter are named, and which of the two is reached', async () => {
      await start([DbContextInspectorModule.forRoot(), moduleOf(SlugController)]);
      expect(await page('/__db')).toContain('__db/page.js');
      expect(await page('/about')).toBe('a page of the application');
      expect(warnings()).toEqual([
        "The inspector at '/__db' takes requests that SlugController.page (GET /:slug) would get. Give it another " +
          'path if one of them is meant for the application.',
      ]);
    });

    it.each([
      ['SlugController.page (GET /:slug)', SlugController],
      [`RestController.rest (GET /${rest})`, RestController],
    ])('that come before it are named where it is not reached: %s', async (route, controller) => {
      await start([DbContextInspectorModule.forRoot()], { controllers: [controller] });
      const isReached = (await page('/__db')).includes('__db/page.js');
      // Fastify takes the route that says more, in whatever order they come.
      expect(isReached).toBe(adapter === 'fastify');
      const isShadowed = `The inspector at '/__db' is not reached: ${route} comes before it. Move that into a module that is imported after DbContextInspectorModule.`;
      expect(warnings()).toEqual(
        adapter === 'express'
          ? [isShadowed]
          : controller === RestController
            ? []
            : [expect.stringContaining(`takes requests that ${route} would get`)],
      );
    });

    it('for all that is left say nothing where it is reached', async () => {
      await start([DbContextInspectorModule.forRoot(), moduleOf(RestController)]);
      expect(await page('/__db')).toContain('__db/page.js');
      expect(await page('/anything')).toBe('what is left');
      expect(warnings()).toEqual([]);
    });
  },
);
