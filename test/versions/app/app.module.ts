import { defineConfig } from '@mikro-orm/postgresql';
import {
  Global,
  Injectable,
  Module,
  type DynamicModule,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { DbConnection, DbContextModule, InjectConnection } from 'nestjs-db-context';

import { Note } from './note.entity.js';
import { Notes, NotesController } from './notes.js';

export const APPLICATION_NAME = 'versions';

/** Of a global module, as the workers of queues are. */
@Injectable()
export class LastConsumer implements OnApplicationShutdown {
  wasOpen: boolean | undefined;

  constructor(@InjectConnection() private readonly connection: DbConnection) {}

  onApplicationShutdown(): void {
    this.wasOpen = !this.connection.isClosed;
  }
}

@Global()
@Module({ providers: [LastConsumer] })
class ConsumerModule {}

@Module({})
export class AppModule {
  static register(
    clientUrl: string,
    imports: NonNullable<DynamicModule['imports']>,
  ): DynamicModule {
    return {
      module: AppModule,
      imports: [
        ConsumerModule,
        DbContextModule.forRoot({
          connections: [
            defineConfig({ clientUrl, driverOptions: { application_name: APPLICATION_NAME } }),
          ],
        }),
        DbContextModule.forFeature([Note]),
        ...imports,
      ],
      controllers: [NotesController],
      providers: [Notes],
    };
  }
}
