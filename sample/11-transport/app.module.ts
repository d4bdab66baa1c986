import { defineConfig } from '@mikro-orm/postgresql';
import { Module, type DynamicModule } from '@nestjs/common';
import { DbContextModule } from 'nestjs-db-context';

import { LineServer } from './lines/line-server.js';
import { Reading } from './readings/reading.entity.js';
import { ReadingsService } from './readings/readings.service.js';

@Module({})
export class AppModule {
  static register({ databaseUrl }: { readonly databaseUrl: string }): DynamicModule {
    return {
      module: AppModule,
      imports: [
        DbContextModule.forRoot({
          connections: [
            defineConfig({ clientUrl: databaseUrl, entities: [Reading], pool: { max: 5 } }),
          ],
        }),
      ],
      providers: [LineServer, ReadingsService],
    };
  }
}
