import { MikroOrmModule } from '@mikro-orm/nestjs';
import { defineConfig } from '@mikro-orm/postgresql';
import { Module, type DynamicModule } from '@nestjs/common';

import { RoomsModule } from './rooms.module.js';

/** The application on `@mikro-orm/nestjs` alone. */
@Module({})
export class BeforeModule {
  static register(clientUrl: string): DynamicModule {
    return {
      module: BeforeModule,
      imports: [
        MikroOrmModule.forRoot({ ...defineConfig({ clientUrl }), autoLoadEntities: true }),
        RoomsModule,
      ],
    };
  }
}
