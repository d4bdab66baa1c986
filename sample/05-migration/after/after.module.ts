import { MikroOrmModule } from '@mikro-orm/nestjs';
import { defineConfig, MikroORM } from '@mikro-orm/postgresql';
import { Module, type DynamicModule } from '@nestjs/common';
import { DbContextModule } from 'nestjs-db-context';

import { RoomsModule } from '../before/rooms.module.js';

/** The same application, taken over: two lines more in its module, and no other file is changed. */
@Module({})
export class AfterModule {
  static register(clientUrl: string): DynamicModule {
    return {
      module: AfterModule,
      imports: [
        MikroOrmModule.forRoot({ ...defineConfig({ clientUrl }), autoLoadEntities: true }),
        DbContextModule.forRootAsync({
          inject: [MikroORM],
          useFactory: (orm: MikroORM) => ({ connections: [{ orm }] }),
        }),
        RoomsModule,
      ],
    };
  }
}
