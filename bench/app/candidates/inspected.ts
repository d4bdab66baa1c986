import { Module, type DynamicModule } from '@nestjs/common';
import { DbContextInspectorModule } from 'nestjs-db-context/inspector';

/** The library with its inspector as it is in development, which nobody looks at meanwhile. */
@Module({})
export class InspectedModule {
  static register(library: DynamicModule): DynamicModule {
    return {
      module: InspectedModule,
      imports: [
        library,
        DbContextInspectorModule.forRoot({
          // What is measured runs with NODE_ENV=production.
          allowInProduction: true,
          guard: { canActivate: () => true },
          showPlaces: true,
        }),
      ],
      exports: [library.module],
    };
  }
}
