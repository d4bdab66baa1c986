import { Module, type DynamicModule, type Provider } from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';

import { HandlerErrorsInterceptor } from './handler-errors.interceptor.js';
import { inspectorController } from './inspector.controller.js';
import { Inspector } from './inspector.js';
import {
  checkedGuard,
  checkedPath,
  checkedSettings,
  checkInspectorKeys,
  INSPECTOR_PLACE,
  INSPECTOR_SETTINGS,
  type DbContextInspectorAsyncOptions,
  type DbContextInspectorOptions,
  type DbContextInspectorPlace,
  type DbContextInspectorSettings,
} from './inspector-options.js';
import { RouteCheckModule } from './route-check.module.js';

/**
 * A page that lists the last requests while they run, and shows for each one what it sent to which database,
 * and when. For development; see docs/inspector.md for what it does not show, and for production.
 *
 * @publicApi
 */
@Module({})
export class DbContextInspectorModule {
  /**
   * Serves the page. Import it beside `DbContextModule.forRoot()`.
   *
   * @throws {@link InvalidOptionsError} an option is not valid, or the application runs in production and
   *   has not asked for it there
   * @example
   * ```ts
   * @Module({
   *   imports: [
   *     DbContextModule.forRoot({ connections: [defineConfig({ entities: [Account] })] }),
   *     ...(process.env.NODE_ENV === 'production' ? [] : [DbContextInspectorModule.forRoot()]),
   *   ],
   * })
   * export class AppModule {}
   * ```
   */
  static forRoot(options: DbContextInspectorOptions = {}): DynamicModule {
    checkInspectorKeys(options, 'inspector');
    checkedSettings(options, options);
    return moduleOf(options, {
      provide: INSPECTOR_SETTINGS,
      // Again at boot: a file with NODE_ENV may be read after the class of the module.
      useFactory: () => checkedSettings(options, options),
    });
  }

  /**
   * As `forRoot()`, with settings that come from other providers; path and guard are given beside the factory.
   *
   * @throws {@link InvalidOptionsError} at once, or while the application boots
   * @example
   * ```ts
   * DbContextInspectorModule.forRootAsync({
   *   guard: AdminGuard,
   *   inject: [ConfigService],
   *   useFactory: (config: ConfigService) => ({ allowInProduction: config.get('INSPECTOR') === 'on' }),
   * });
   * ```
   */
  static forRootAsync(options: DbContextInspectorAsyncOptions): DynamicModule {
    checkInspectorKeys(options, 'inspectorAsync');
    const { inject = [], useFactory } = options;
    return moduleOf(options, {
      provide: INSPECTOR_SETTINGS,
      inject,
      useFactory: async (...dependencies: never[]) => {
        const settings: DbContextInspectorSettings = await useFactory(...dependencies);
        checkInspectorKeys(settings, 'inspectorSettings');
        return checkedSettings(options, settings);
      },
    });
  }
}

function moduleOf(options: DbContextInspectorPlace, settings: Provider): DynamicModule {
  const path = checkedPath(options);
  const controller = inspectorController(path, checkedGuard(options));
  return {
    module: DbContextInspectorModule,
    imports: [...(options.imports ?? []), RouteCheckModule.of({ path, controller })],
    controllers: [controller],
    providers: [
      settings,
      { provide: INSPECTOR_PLACE, useValue: { path, hasGuard: options.guard !== undefined } },
      Inspector,
      { provide: APP_INTERCEPTOR, useClass: HandlerErrorsInterceptor },
    ],
  };
}
